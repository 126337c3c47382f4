//! The command lines of the programs.

use std::{ffi::OsString, path::Path};

use super::certificates::{FRONT_PROXY, FRONT_PROXY_AUTHORITY};

/// The size limit of the store, far above what tests and benchmarks write.
const QUOTA_BYTES: u64 = 8 << 30;

/// Where the store keeps its data in the work folder.
pub(super) const ETCD_DATA: &str = "etcd";
/// The store has no authentication, so it listens on sockets in the work folder, which only the owner can enter.
pub(super) const ETCD_SOCKET: &str = "etcd.sock";
const PEER_SOCKET: &str = "peer.sock";
/// The advertised client address, which must be a host and a port. Nothing listens there.
const ADVERTISED: &str = "http://127.0.0.1:2379";

pub(super) const CERTIFICATES: &str = "certificates";
pub(super) const CONTROLLER_MANAGER_KUBECONFIG: &str = "controller-manager.kubeconfig";

fn flag(name: &str, value: impl AsRef<std::ffi::OsStr>) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value);
    flag
}

fn socket(work: &Path, name: &str) -> OsString {
    let mut url = OsString::from("unix://");
    url.push(work.join(name));
    url
}

pub(super) fn etcd(work: &Path, fsync: bool) -> Vec<OsString> {
    let (client, peer) = (socket(work, ETCD_SOCKET), socket(work, PEER_SOCKET));
    let mut flags = vec![
        flag("name", "bullpen"),
        flag("data-dir", work.join(ETCD_DATA)),
        flag("listen-client-urls", client),
        flag("advertise-client-urls", ADVERTISED),
        flag("listen-peer-urls", peer),
        flag("initial-advertise-peer-urls", ADVERTISED),
        flag("initial-cluster", format!("bullpen={ADVERTISED}")),
        flag("quota-backend-bytes", QUOTA_BYTES.to_string()),
        flag("log-level", "warn"),
    ];
    if !fsync {
        flags.push("--unsafe-no-fsync".into());
    }
    flags
}

pub(super) fn api_server(work: &Path, port: u16, extra: &[String]) -> Vec<OsString> {
    let certificates = work.join(CERTIFICATES);
    let mut flags = vec![
        flag("etcd-servers", socket(work, ETCD_SOCKET)),
        flag("bind-address", "127.0.0.1"),
        flag("advertise-address", "127.0.0.1"),
        flag("secure-port", port.to_string()),
        // No endpoint of the Service `kubernetes` may be on loopback.
        flag("endpoint-reconciler-type", "none"),
        flag("cert-dir", &certificates),
        flag("tls-cert-file", certificates.join("serving.crt")),
        flag("tls-private-key-file", certificates.join("serving.key")),
        flag("client-ca-file", certificates.join("ca.crt")),
        flag("service-account-key-file", certificates.join("service-account.pub")),
        flag("service-account-signing-key-file", certificates.join("service-account.key")),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        // For aggregated API servers: the client certificate of requests to them, and the headers with the user.
        flag("requestheader-client-ca-file", certificates.join(FRONT_PROXY_AUTHORITY)),
        flag("requestheader-allowed-names", FRONT_PROXY),
        flag("requestheader-username-headers", "X-Remote-User"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        flag("proxy-client-cert-file", certificates.join("front-proxy.crt")),
        flag("proxy-client-key-file", certificates.join("front-proxy.key")),
        flag("service-cluster-ip-range", "10.0.0.0/24"),
        flag("authorization-mode", "RBAC"),
        flag("event-ttl", "1h"),
        flag("profiling", "false"),
    ];
    flags.extend(extra.iter().map(OsString::from));
    flags
}

/// The controllers that always run.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,serviceaccount-controller,\
                           root-ca-certificate-publisher-controller,clusterrole-aggregation-controller";

pub(super) fn controller_manager(work: &Path, more: &[String]) -> Vec<OsString> {
    let certificates = work.join(CERTIFICATES);
    let kubeconfig = work.join(CONTROLLER_MANAGER_KUBECONFIG);
    vec![
        flag("kubeconfig", &kubeconfig),
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        flag("secure-port", "0"),
        flag("leader-elect", "false"),
        flag("controllers", [&[CONTROLLERS.to_owned()], more].concat().join(",")),
        flag("use-service-account-credentials", "true"),
        flag("service-account-private-key-file", certificates.join("service-account.key")),
        flag("root-ca-file", certificates.join("ca.crt")),
        // With the defaults, 20 and 30 a second, a test that deletes a namespace would be slow.
        flag("kube-api-qps", "500"),
        flag("kube-api-burst", "1000"),
        // Where Options::controllers has the autoscaler; 15 s by default, for the same reason.
        flag("horizontal-pod-autoscaler-sync-period", "1s"),
        flag("profiling", "false"),
    ]
}
