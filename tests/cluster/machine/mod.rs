//! Real machines: Debian with cloud-init under QEMU without KVM, as the machines of the simulated cloud (`make test-machine`).

mod ground;
mod login;
mod standby;
mod whole;
