//! What a machine of a launch config costs for an hour: a number of the spec, or asked of the cloud once an hour.

use bullpen_api::{ConditionType, ConditionValue, HOURLY_PRICE_AUTO, LaunchConfig, Reason};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::lookups::Lookups;
use crate::cloud::Cloud;
use crate::provider::PriceOf;
use crate::state::ObjectKey;
use crate::telemetry::labels::ProviderOperation;

/// How often a price is asked for: EC2's Spot prices follow demand in the long run and change a few times a day at most.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-history.html>
const EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What was asked, by launch config.
#[derive(Debug)]
pub struct Prices(Lookups);

/// The price of one launch config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HourlyPrice {
    /// What its status should say.
    pub amount: Option<String>,
    /// Whether the cloud told it, if that was asked.
    pub condition: Option<ConditionValue>,
    /// When to ask again.
    pub again: Option<Timestamp>,
}

impl Default for Prices {
    fn default() -> Self {
        Self(Lookups::new(EVERY))
    }
}

impl HourlyPrice {
    /// What is known already.
    pub fn of_status(config: &LaunchConfig) -> Self {
        let amount = config.status.as_ref().and_then(|status| status.hourly_price.clone());
        Self { amount: amount.filter(|_| config.spec.hourly_price.is_some()), ..Self::default() }
    }
}

impl Prices {
    /// Asks for the price if the spec says so and the last answer is old. A price that was found before stays if there
    /// is no answer.
    pub async fn look(&self, config: &LaunchConfig, key: &ObjectKey, cloud: &Cloud) -> HourlyPrice {
        match config.spec.hourly_price.as_deref() {
            Some(HOURLY_PRICE_AUTO) => self.ask(config, key, cloud).await,
            written => {
                self.forget(key);
                HourlyPrice { amount: written.map(str::to_owned), ..HourlyPrice::default() }
            }
        }
    }

    /// The launch config is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.0.forget(key);
    }

    async fn ask(&self, config: &LaunchConfig, key: &ObjectKey, cloud: &Cloud) -> HourlyPrice {
        let spec = &config.spec;
        let of = PriceOf { zone: &spec.zone, market: spec.market, instance_type: &spec.instance_type };
        let question = format!("{of:?}");
        let ask = cloud.call(ProviderOperation::Price, cloud.provider().hourly_price(of));
        let looked = self.0.look(key, &question, ask).await;
        let (amount, condition) = match looked.found {
            Ok(amount) => {
                if looked.is_news {
                    info!(launch_config = %key, amount, "the price is known");
                }
                let message = "the cloud tells the price of a machine";
                (Some(amount), ConditionValue::new(ConditionType::PriceKnown, true, Reason::PriceTold, message))
            }
            Err(why) => {
                if looked.is_news {
                    warn!(launch_config = %key, %why, "the price is not known");
                }
                (
                    HourlyPrice::of_status(config).amount,
                    ConditionValue::new(ConditionType::PriceKnown, false, Reason::PriceNotTold, why),
                )
            }
        };
        HourlyPrice { amount, condition: Some(condition), again: Some(looked.again) }
    }
}
