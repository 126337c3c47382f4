//! The four definitions, as the API server understands them: what it accepts, what it refuses and in which words.

mod claim;
mod claim_selector;
mod claim_terms;
mod definitions;
mod launch_config;
mod member;
mod pool;
mod pool_health;
mod pool_machines;
mod pool_upkeep;
mod sandbox;
