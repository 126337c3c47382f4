//! Writing tags.

use std::collections::BTreeMap;

use crate::client::{Client, Service};
use crate::error::CallError;

impl Client {
    /// Adds tags to a machine or changes their values.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn create_tags(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), CallError> {
        let mut query = Self::ec2("CreateTags");
        query.put("ResourceId.1", id);
        query.put_tags("Tag", tags);
        self.query(Service::Ec2, &query).await.map(drop)
    }
}
