//! The end of objects, of namespaces, and of a whole installation.

mod definition_gone;
mod deletion;
mod namespace;
mod pairs;
mod uninstall;
