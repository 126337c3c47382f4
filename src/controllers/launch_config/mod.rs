//! Launch configs: kept by a finalizer while members need them, and what they say of their cloud and their members.

pub mod health;
pub mod reconcile;
