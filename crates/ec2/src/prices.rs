//! Prices of Spot machines.

use jiff::Timestamp;
use serde::Deserialize;

use crate::client::{Client, Service};
use crate::error::CallError;
use crate::xml::{self, Items};

/// What the machine runs, which decides the price. Others (Windows, SUSE) cost more.
const PRODUCT: &str = "Linux/UNIX";

#[derive(Deserialize)]
struct History {
    #[serde(rename = "spotPriceHistorySet", default)]
    prices: Items<Price>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Price {
    spot_price: String,
    #[serde(default)]
    timestamp: String,
}

impl Client {
    /// The Spot price of a machine of this type with Linux in this zone, in US dollars an hour, as EC2 writes it. `None`
    /// is an answer of EC2: it sells none. From `now` on, the history has the present price alone.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html>
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn spot_price(
        &self,
        instance_type: &str,
        zone: &str,
        now: Timestamp,
    ) -> Result<Option<String>, CallError> {
        let mut query = Self::ec2("DescribeSpotPriceHistory");
        query.put("InstanceType.1", instance_type);
        query.put("ProductDescription.1", PRODUCT);
        query.put("Filter.1.Name", "availability-zone");
        query.put("Filter.1.Value.1", zone);
        query.put("StartTime", now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let history: History = xml::read(&self.query(Service::Ec2, &query).await?)?;
        let latest = history.prices.items.into_iter().max_by(|one, other| one.timestamp.cmp(&other.timestamp));
        Ok(latest.map(|price| price.spot_price))
    }
}
