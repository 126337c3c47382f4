//! The trait that every cloud is reached through, and its providers.
