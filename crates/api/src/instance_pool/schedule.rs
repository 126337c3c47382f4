//! Sizes by the clock.

use kube::KubeSchema;
use kube::core::{Message, Rule};
use serde::{Deserialize, Serialize};

/// A larger target at certain times. While several are on, or none is above targetSize, the highest number counts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSchedule {
    /// A name for messages.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// When it begins: minute, hour, day of the month, month, day of the week, as in crontab. Sunday is 0 or 7.
    #[schemars(length(max = 128))]
    #[x_kube(
        validation = Rule::new(format!("self.matches('{FIVE}')"))
            .message("cron must have five fields (minute, hour, day of the month, month, day of the week), such as 0 8 * * 1-5; nicknames are not known, so write 0 0 * * * for @daily"),
        validation = minute(), validation = hour(), validation = day_of_month(), validation = month(), validation = day_of_week()
    )]
    pub cron: String,
    /// The time zone of cron, by its name in the IANA database, such as Europe/Berlin.
    #[serde(default = "default_time_zone")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: String,
    /// How long it lasts, by the clock of its time zone: from 22:00 for 28800 seconds is until 06:00, also in a night
    /// in which the clock changes.
    #[schemars(range(min = 60, max = 2_678_400))]
    pub duration_seconds: i32,
    /// The number of unclaimed members wanted while it is on.
    #[schemars(range(min = 0, max = 10_000))]
    pub target_size: i32,
}

/// A cron expression of five fields.
const FIVE: &str = "^[0-9A-Za-z*/,#-]+( +[0-9A-Za-z*/,#-]+){4}$";
/// A step, after the slash.
const STEP: &str = "(/0*[1-9][0-9]{0,3})";

/// The rule that a field of a cron expression has these values (`value`), whose bounds are `bounds`. A range that goes backwards
/// and a date that does not exist are left to the operator, which says so in the status.
fn field(place: usize, name: &str, value: &str, (more, nth): (&str, &str), bounds: &str) -> Rule {
    let item = format!("(([*]{STEP}?|({value})(-({value}){STEP}?)?){nth}{more})");
    let before = format!("([^ ]+ +){{{place}}}");
    // What has not five fields breaks the first rule, and only that.
    let rule = format!("!self.matches('{FIVE}') || self.matches('^{before}(?i:{item}(,{item})*)( |$)')");
    let message = format!("'{name} ' + self.findAll('[^ ]+')[{place}] + ': {bounds}'");
    Rule::new(rule).message(Message::Expression(message))
}

fn minute() -> Rule {
    field(0, "minute", "0*[1-5]?[0-9]", ("", ""), "0 to 59, as in 5, 0-30, */15 or 0,30")
}

fn hour() -> Rule {
    field(1, "hour", "0*(1?[0-9]|2[0-3])", ("", ""), "0 to 23, as in 8, 8-17, */2 or 8,20")
}

fn day_of_month() -> Rule {
    let day = "0*([1-9]|[12][0-9]|3[01])";
    field(
        2,
        "day of the month",
        day,
        (&format!("|LW?|{day}W"), ""),
        "1 to 31, as in 1, 1-7, */2 or 1,15, or L for the last",
    )
}

fn month() -> Rule {
    let month = "0*([1-9]|1[0-2])|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC";
    field(3, "month", month, ("", ""), "1 to 12 or JAN to DEC, as in 1, JAN-MAR, */3 or 3,9")
}

fn day_of_week() -> Rule {
    let day = "0*[0-7]|SUN|MON|TUE|WED|THU|FRI|SAT";
    let bounds = "0 to 7 (0 and 7 are Sunday) or SUN to SAT, as in 1, MON-FRI or 0,6";
    field(4, "day of the week", day, (&format!("|L|({day})L"), "(#[1-5])?"), bounds)
}

fn default_time_zone() -> String {
    "Etc/UTC".to_owned()
}

/// A change of the target by the clock.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextTarget {
    /// When.
    #[serde(deserialize_with = "crate::moments::moment")]
    pub time: k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime,
    /// The number of unclaimed members wanted from then on, before maxSize.
    pub size: i32,
}
