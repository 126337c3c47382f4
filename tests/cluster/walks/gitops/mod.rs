//! What Argo CD, Flux and the autoscaler see of the resources and do with them.

mod autoscaler;
mod health;
mod manifests;
mod sync;
