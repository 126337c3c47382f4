//! A real etcd and kube-apiserver on loopback, for tests, the demo and benchmarks.
