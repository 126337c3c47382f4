//! Images by name and by parameter.

use serde::Deserialize;
use serde_json::json;

use crate::client::{Client, Service};
use crate::error::CallError;
use crate::xml::{self, Items};

/// Which images to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageFilter {
    /// The account that owns them, or `self`, `amazon`, `aws-marketplace`.
    pub owner: String,
    /// Their name; `*` and `?` are wildcards.
    pub name: String,
}

#[derive(Deserialize)]
struct Images {
    #[serde(rename = "imagesSet", default)]
    images: Items<Image>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    image_id: String,
    #[serde(default)]
    creation_date: String,
}

impl Client {
    /// The latest available image of a filter. `None` is an answer of EC2: there is no such image.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn latest_image(&self, filter: &ImageFilter) -> Result<Option<String>, CallError> {
        let mut query = Self::ec2("DescribeImages");
        query.put("Owner.1", &filter.owner);
        for (index, (name, value)) in [("name", filter.name.as_str()), ("state", "available")].into_iter().enumerate() {
            query.put(format!("Filter.{}.Name", index + 1), name);
            query.put(format!("Filter.{}.Value.1", index + 1), value);
        }
        let images: Images = xml::read(&self.query(Service::Ec2, &query).await?)?;
        // Dates are ISO 8601 in UTC, so their order is that of their text. The id decides between equal ones.
        let latest = images
            .images
            .items
            .into_iter()
            .max_by(|one, other| (&one.creation_date, &one.image_id).cmp(&(&other.creation_date, &other.image_id)));
        Ok(latest.map(|image| image.image_id))
    }

    /// The value of a public or own parameter of the Parameter Store, such as
    /// `/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id`.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with `ParameterNotFound` if there is none.
    pub async fn parameter(&self, name: &str) -> Result<String, CallError> {
        let answer = self.json(Service::Ssm, "AmazonSSM.GetParameter", &json!({ "Name": name })).await?;
        let value = answer["Parameter"]["Value"].as_str();
        value.map(str::to_owned).ok_or_else(|| CallError::unknown("the answer has no value of the parameter"))
    }
}
