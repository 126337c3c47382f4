//! Moments in objects. The API server accepts more texts as a `date-time` than a [`Timestamp`] can hold, such as a time
//! in the last days of the year 9999 or an offset of 99 hours. None of them makes an object unreadable.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{Timestamp, civil};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::common::micro_time;

/// `spec.renewTime` of a claim, as it was written. Only whether it changed matters.
///
/// Two texts of one moment are equal: a status has whole microseconds, and clients write other zones.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RenewTime(String);

/// What distinguishes one [`RenewTime`] from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// The moment, in whole microseconds.
    At(Timestamp),
    /// A digest of a text that no [`Timestamp`] can hold.
    Text(u64),
}

impl RenewTime {
    /// What to compare.
    pub fn renewal(&self) -> Renewal {
        self.moment().map_or_else(
            || {
                let mut digest = DefaultHasher::new();
                self.0.hash(&mut digest);
                Renewal::Text(digest.finish())
            },
            Renewal::At,
        )
    }

    /// The moment in whole microseconds, if a [`Timestamp`] can hold it.
    pub fn moment(&self) -> Option<Timestamp> {
        self.0.parse().ok().map(|moment| micro_time(moment).0)
    }

    /// The same moment as `MicroTime` writes it; any other text as it is.
    #[must_use]
    pub fn canonical(&self) -> Self {
        self.moment().map_or_else(|| self.clone(), |moment| MicroTime(moment).into())
    }
}

impl From<MicroTime> for RenewTime {
    fn from(moment: MicroTime) -> Self {
        Self(format!("{:.6}", moment.0))
    }
}

impl PartialEq for RenewTime {
    fn eq(&self, other: &Self) -> bool {
        self.renewal() == other.renewal()
    }
}

impl Eq for RenewTime {}

/// Reads a moment. One that no [`Timestamp`] can hold becomes the nearest that it can.
pub(crate) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MicroTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    nearest(&text).map(MicroTime).ok_or_else(|| D::Error::custom("no date-time"))
}

/// As [`moment`], for a field that may be absent.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MicroTime>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| nearest(&text).map(MicroTime).ok_or_else(|| D::Error::custom("no date-time"))).transpose()
}

/// A condition whose moment is read by [`moment`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    observed_generation: Option<i64>,
    #[serde(deserialize_with = "moment")]
    last_transition_time: MicroTime,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// Reads conditions, with their moments as [`moment`].
pub(crate) fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    let read = Option::<Vec<Read>>::deserialize(deserializer)?.unwrap_or_default();
    let condition = |read: Read| Condition {
        type_: read.type_,
        status: read.status,
        observed_generation: read.observed_generation,
        last_transition_time: Time(read.last_transition_time.0),
        reason: read.reason,
        message: read.message,
    };
    Ok(read.into_iter().map(condition).collect())
}

/// The moment of a text that the API server accepts as a date-time, or the nearest that a [`Timestamp`] can hold.
fn nearest(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let seconds = seconds(text)?;
        let clamped = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        Timestamp::from_second(clamped).ok()
    })
}

/// The Unix time of `2006-01-02T15:04:05` and what follows: a fraction, which is dropped, and `Z` or an offset.
fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let number = |text: Option<&str>| text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok();
    let mut parts = date.splitn(3, '-');
    let (year, month, day): (i64, i64, i64) = (number(parts.next())?, number(parts.next())?, number(parts.next())?);
    let date = civil::Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let (hour, minute): (i64, i64) = (number(time.get(0..2))?, number(time.get(3..5))?);
    let second: i64 = number(time.get(6..8))?;
    let rest = time.get(8..)?;
    let offset = match rest.find(['+', '-']) {
        None => 0,
        Some(at) => {
            let (hours, minutes): (i64, i64) = (number(rest.get(at + 1..at + 3))?, number(rest.get(at + 4..at + 6))?);
            let offset = hours * 3_600 + minutes * 60;
            if rest[at..].starts_with('-') { -offset } else { offset }
        }
    };
    let days = date.duration_since(civil::date(1970, 1, 1)).as_secs() / 86_400;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renew(text: &str) -> RenewTime {
        serde_json::from_value(serde_json::json!(text)).unwrap()
    }

    #[test]
    fn a_moment_is_the_same_in_another_zone_and_with_a_finer_fraction_and_any_other_text_is_itself() {
        let utc = renew("2026-01-01T00:00:00.123456Z");
        assert_eq!(utc, renew("2026-01-01T02:00:00.123456789+02:00"));
        assert_eq!(renew("2026-01-01T02:00:00.123456789+02:00").canonical().0, "2026-01-01T00:00:00.123456Z");
        assert_ne!(utc, renew("2026-01-01T00:00:00.123457Z"));
        let last = "9999-12-31T23:59:59Z";
        assert_eq!((renew(last), renew(last).canonical().0.as_str()), (renew(last), last));
        assert_ne!(renew(last), renew("9999-12-31T23:59:58Z"));
    }

    #[test]
    fn a_moment_beyond_all_that_can_be_held_is_the_nearest_that_can() {
        for (text, seconds) in [
            ("2026-01-01T00:00:00Z", 1_767_225_600),
            ("2026-01-01T00:00:00.1234567890123Z", 1_767_225_600),
            ("2026-01-01t00:00:00,5z", 1_767_225_600),
            ("2026-01-01T00:00:00+99:59", 1_767_225_600 - 99 * 3_600 - 59 * 60),
            ("2026-01-01T00:00:00-99:59", 1_767_225_600 + 99 * 3_600 + 59 * 60),
            ("9999-12-31T23:59:59Z", Timestamp::MAX.as_second()),
            ("9999-12-31T23:59:59-99:00", Timestamp::MAX.as_second()),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
            ("0000-01-01T00:00:00+99:00", -62_167_219_200 - 99 * 3_600),
        ] {
            assert_eq!(nearest(text).map(Timestamp::as_second), Some(seconds), "{text}");
        }
        for text in ["", "now", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T", "2026-01-01Té0:00:00Z"] {
            assert_eq!(nearest(text), None, "{text}");
        }
    }
}
