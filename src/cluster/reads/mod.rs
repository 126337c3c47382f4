//! Uncached reads of single objects that no watch follows: namespaces, Secrets and ConfigMaps. The installation secret
//! is also created here.

pub mod contents;
pub mod input;
pub mod installation_secret;
pub mod namespaces;
