//! Tests against a real API server.

mod chaos;
mod checker;
mod control_plane;
mod crd;
mod fixture;
mod fleet;
mod harness;
mod install;
mod shared;
mod walk_argocd;
mod walk_aside;
mod walk_binding;
mod walk_claims;
mod walk_cluster;
#[cfg(feature = "kubectl")]
mod walk_credentials;
mod walk_deletion;
mod walk_faults;
mod walk_gitops;
mod walk_gitops_manifests;
mod walk_hpa;
mod walk_kubectl;
mod walk_ladder;
mod walk_latency;
mod walk_launch_configs;
mod walk_lease;
mod walk_machines;
mod walk_namespace_end;
mod walk_namespaces;
#[cfg(feature = "kubectl")]
mod walk_plugin;
#[cfg(feature = "kubectl")]
mod walk_plugin_claim;
#[cfg(feature = "kubectl")]
mod walk_plugin_terms;
mod walk_pools;
#[cfg(feature = "kubectl")]
mod walk_proxy;
mod walk_queue;
mod walk_recycle;
mod walk_restart;
mod walk_restore;
mod walk_scope;
mod walk_selector;
mod walk_skew;
mod walk_start;
mod walk_sweep;
mod walk_terms;
mod walk_uninstall;
mod walk_upgrade;
mod walk_user_data;
mod walk_writes;
