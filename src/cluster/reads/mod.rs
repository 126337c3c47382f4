//! Single objects that are read when somebody needs them and kept by no watch.

pub mod contents;
pub mod installation_secret;
pub mod namespaces;
