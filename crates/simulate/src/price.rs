//! What machines cost.

use bullpen_api::{HOURLY_PRICE_AUTO, LaunchConfig};

/// What a machine of this launch config costs for an hour: the number of `spec.hourlyPrice`, else what its provider said last.
pub fn hourly_price(config: &LaunchConfig) -> Option<f64> {
    let told = config.status.as_ref().and_then(|status| status.hourly_price.as_ref());
    let written = config.spec.hourly_price.as_ref().filter(|price| *price != HOURLY_PRICE_AUTO);
    written.or(told)?.parse::<f64>().ok().filter(|price| price.is_finite())
}
