//! The simulated cloud: a server of its own, with a ledger.
