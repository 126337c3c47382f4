//! OpenStack as the cloud: the operator with its provider `openstack`, against the real nova, keystone, placement, glance
//! and neutron with a hypervisor that runs nothing (`make test-openstack`).

mod bought;
mod cloud;
mod conformance;
mod figures;
mod proxy;
mod reused;
mod standby;
mod storm;
mod troubles;
