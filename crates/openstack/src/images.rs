//! Images by name or property.

use bullpen_cloud_http::Method;
use serde::Deserialize;
use url::form_urlencoded;

use crate::client::{Call, Client, Service};
use crate::error::CallError;

#[derive(Deserialize)]
struct Images {
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    id: String,
}

impl Client {
    /// The id of the latest active image with all these properties, of which `name` is one.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn latest_image(&self, properties: &[(&str, &str)]) -> Result<Option<String>, CallError> {
        let path = path(properties);
        let found: Images = self.call(&Call { service: Service::Image, method: Method::GET, path, body: None }).await?;
        Ok(found.images.into_iter().next().map(|image| image.id))
    }
}

fn path(properties: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(properties);
    query.append_pair("status", "active").append_pair("sort", "created_at:desc").append_pair("limit", "1");
    format!("/v2/images?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_image_with_all_properties_is_asked_for() {
        let path = path(&[("name", "ci"), ("os_distro", "debian & co")]);
        assert_eq!(path, "/v2/images?name=ci&os_distro=debian+%26+co&status=active&sort=created_at%3Adesc&limit=1");
    }
}
