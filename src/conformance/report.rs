//! What a run of the checks found, as lines for a person and as JSON for a program. Pure.

use std::fmt::Write as _;

use bullpen_access::shown;
use serde::{Serialize, Serializer};

/// One thing that a provider promises. [`Check::ALL`] is the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The credentials belong to an account, and the region is the launch config's.
    Identity,
    /// Machines that an earlier run left are found by their tags, and ended.
    LeftOver,
    /// The name of the image, where it is one that the provider resolves, stands for an image.
    Image,
    /// A machine is bought as it was asked for.
    Create,
    /// It is in a list within the create grace.
    Listed,
    /// It has all tags of ours, beside a user's one with odd characters.
    Tags,
    /// The same request once more answers with the same machine.
    Retry,
    /// Another request with the same token is refused as such, or answers with the same machine.
    OtherBody,
    /// A token finds its machine, and one that bought nothing finds none.
    Find,
    /// The machine runs and is ready.
    Boots,
    /// It has an address then.
    Address,
    /// It ran the user data.
    UserData,
    /// Tags can be added to it.
    TagLater,
    /// Where the provider stops machines: it is stopped, and to stop it once more is success.
    Stop,
    /// It is started again, runs, and shows a later start than before.
    Start,
    /// Where the provider hibernates machines: it is hibernated, and to hibernate it once more is success.
    Hibernate,
    /// It is started again, runs, and shows a later start than before.
    Resume,
    /// Lists have each machine of the installation once, and no other.
    ListWhole,
    /// Another installation's machine is in no list of ours.
    ForeignHidden,
    /// A machine that is not there is `NotFound`.
    UnknownId,
    /// A create with an image that is not there is refused for good.
    UnknownImage,
    /// A create with an instance type that is not there is refused for good.
    UnknownType,
    /// A terminated machine is gone in the end.
    Terminate,
    /// To terminate it once more is success.
    TerminateAgain,
    /// To terminate a machine that is not there is success.
    TerminateUnknown,
    /// The other installation's machine lives after all of that.
    ForeignStays,
    /// All machines of the run are ended.
    CleanUp,
}

impl Check {
    /// All checks, in their order.
    pub const ALL: [Self; 27] = [
        Self::Identity,
        Self::LeftOver,
        Self::Image,
        Self::Create,
        Self::Listed,
        Self::Tags,
        Self::Retry,
        Self::OtherBody,
        Self::Find,
        Self::Boots,
        Self::Address,
        Self::UserData,
        Self::TagLater,
        Self::Stop,
        Self::Start,
        Self::Hibernate,
        Self::Resume,
        Self::ListWhole,
        Self::ForeignHidden,
        Self::UnknownId,
        Self::UnknownImage,
        Self::UnknownType,
        Self::Terminate,
        Self::TerminateAgain,
        Self::TerminateUnknown,
        Self::ForeignStays,
        Self::CleanUp,
    ];

    /// Its name in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::LeftOver => "left-over",
            Self::Image => "image",
            Self::Create => "create",
            Self::Listed => "listed",
            Self::Tags => "tags",
            Self::Retry => "retry",
            Self::OtherBody => "other-body",
            Self::Find => "find",
            Self::Boots => "boots",
            Self::Address => "address",
            Self::UserData => "user-data",
            Self::TagLater => "tag-later",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Hibernate => "hibernate",
            Self::Resume => "resume",
            Self::ListWhole => "list-whole",
            Self::ForeignHidden => "foreign-hidden",
            Self::UnknownId => "unknown-id",
            Self::UnknownImage => "unknown-image",
            Self::UnknownType => "unknown-type",
            Self::Terminate => "terminate",
            Self::TerminateAgain => "terminate-again",
            Self::TerminateUnknown => "terminate-unknown",
            Self::ForeignStays => "foreign-stays",
            Self::CleanUp => "clean-up",
        }
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The provider keeps its promise.
    Ok,
    /// It does not.
    Failed,
    /// It was not tried.
    Skipped,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// One check, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What was seen, or why it was not tried.
    pub seen: String,
}

impl Finding {
    /// As one line.
    pub fn text(&self) -> String {
        let Self { check, outcome, seconds, seen } = self;
        format!("{:<8} {:<18} {seconds:>8.3} s  {}", outcome.name(), check.name(), shown::line(seen))
    }
}

/// All that a run found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The name of the launch config.
    pub launch_config: String,
    /// The kind of provider.
    pub provider: String,
    /// The region.
    pub region: String,
    /// The account, if the cloud named it.
    pub account: Option<String>,
    /// The installation in the tags of the run's machines.
    pub installation: String,
    /// Whether the run was ended before its end.
    pub interrupted: bool,
    /// The checks, in their order.
    pub checks: Vec<Finding>,
    /// The ids of machines of the run that may still be there.
    pub left: Vec<String>,
}

impl Report {
    /// Whether all checks ran that could, none failed, and nothing is left.
    pub fn succeeded(&self) -> bool {
        !self.interrupted && self.left.is_empty() && self.count(Outcome::Failed) == 0
    }

    /// How many checks came out so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|finding| finding.outcome == outcome).count()
    }

    /// The last lines for a person.
    pub fn summary(&self) -> String {
        let [ok, failed, skipped] = [Outcome::Ok, Outcome::Failed, Outcome::Skipped].map(|outcome| self.count(outcome));
        let mut text = format!("{ok} ok, {failed} failed, {skipped} skipped");
        if self.interrupted {
            text += "; interrupted";
        }
        if !self.left.is_empty() {
            let ids = self.left.join(", ");
            let _ = write!(text, "\nmay still be there, and bill: {}", shown::line(&ids));
            let _ = write!(text, "\nrun it again to end them, or look for machines with the tag {}", self.tag());
        }
        text
    }

    fn tag(&self) -> String {
        format!("{}={}", crate::provider::tags::INSTALLATION, self.installation)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(outcomes: &[Outcome]) -> Report {
        let checks = outcomes.iter().zip(Check::ALL).map(|(outcome, check)| Finding {
            check,
            outcome: *outcome,
            seconds: 0.25,
            seen: "i-1\nand a second line".into(),
        });
        Report {
            launch_config: "m5".into(),
            provider: "aws".into(),
            region: "r1".into(),
            account: None,
            installation: "conformance-1".into(),
            interrupted: false,
            checks: checks.collect(),
            left: Vec::new(),
        }
    }

    #[test]
    fn names_are_unique_and_every_check_has_its_place() {
        let mut names = Check::ALL.map(Check::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(Check::ALL.is_sorted());
        assert_eq!(Check::ALL.last(), Some(&Check::CleanUp));
    }

    #[test]
    fn a_run_succeeds_only_if_nothing_failed_nothing_is_left_and_nobody_ended_it() {
        let fine = report(&[Outcome::Ok, Outcome::Skipped]);
        assert!(fine.succeeded());
        assert!(!report(&[Outcome::Ok, Outcome::Failed]).succeeded());
        assert!(!Report { interrupted: true, ..fine.clone() }.succeeded());
        let left = Report { left: vec!["i-7".into()], ..fine };
        assert!(!left.succeeded());
        let summary = left.summary();
        assert!(summary.starts_with("1 ok, 0 failed, 1 skipped\n") && summary.contains("i-7"), "{summary}");
        assert!(summary.ends_with("bullpen.dev/installation=conformance-1"), "{summary}");
    }

    #[test]
    fn a_finding_is_one_line_whatever_the_cloud_wrote() {
        let text = report(&[Outcome::Failed]).checks[0].text();
        assert_eq!(text, "FAILED   identity              0.250 s  i-1\\nand a second line");
    }

    #[test]
    fn as_json_a_report_has_the_names_of_the_text() {
        let value: Value = serde_json::to_value(report(&[Outcome::Ok])).unwrap();
        assert_eq!(value["launchConfig"], "m5");
        assert_eq!(
            value["checks"][0],
            json!({ "check": "identity", "outcome": "ok", "seconds": 0.25, "seen": "i-1\nand a second line" })
        );
    }
}
