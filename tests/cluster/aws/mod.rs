//! EC2 as the cloud: the operator with its provider `aws`, against moto and microburst (`make test-aws`).

mod accounts;
mod bought;
mod cloud;
mod conformance;
mod fleet;
mod images;
mod notices;
mod policy;
mod standby;
mod storm;
mod troubles;
