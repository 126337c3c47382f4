//! How operator and plugin reach the API server: credentials that change, and proxies.

mod credentials;
mod proxy;
