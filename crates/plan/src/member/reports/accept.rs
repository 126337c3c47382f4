//! What a report means for the member that it is about.

use bullpen_api::{JobDone, MachineReport, MemberState, PoolMember, micro_time};
use jiff::Timestamp;

use super::body::Content;
use super::routes::Topic;

/// What the text is where a machine gives none.
const NO_REASON: &str = "it gave no reason";

/// What becomes of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The member is another one, or ends: as if there were none.
    Refused,
    /// It says nothing new.
    Known,
    /// It comes too late: a claim has the machine, and decides.
    Late,
    /// No claim has the machine whose job could be done.
    NotClaimed,
    /// The member with the status to write, on the version that it has.
    Write(Box<PoolMember>),
}

/// Judges a report about the member with this uid, whose token was right.
pub fn judge(member: &PoolMember, uid: &str, topic: Topic, content: &Content, now: Timestamp) -> Verdict {
    let mut status = member.status.clone().unwrap_or_default();
    let ends = member.metadata.deletion_timestamp.is_some() || status.state == MemberState::Errored;
    if ends || member.metadata.uid.as_deref() != Some(uid) {
        return Verdict::Refused;
    }
    let before = status.reported.take().map(|reported| *reported).unwrap_or_default();
    let claim = status.claim_ref.as_ref().filter(|_| status.state == MemberState::Claimed);
    if before.broken.is_some() && topic != Topic::Done {
        return Verdict::Known;
    }
    let after = match topic {
        Topic::Broken if status.state == MemberState::Claimed => return Verdict::Late,
        Topic::Broken => {
            let reason = if content.text.is_empty() { NO_REASON } else { &content.text };
            MachineReport { broken: Some(reason.to_owned()), ..before.clone() }
        }
        Topic::Done => {
            let Some(claim) = claim else { return Verdict::NotClaimed };
            if before.done.as_ref().is_some_and(|done| done.claim_uid == claim.uid) {
                return Verdict::Known;
            }
            let (claim_uid, result) = (claim.uid.clone(), content.text.clone());
            MachineReport { done: Some(JobDone { claim_uid, at: Some(micro_time(now)), result }), ..before.clone() }
        }
        // They change nothing that is written.
        Topic::Assignment | Topic::Heartbeat => return Verdict::Known,
        Topic::Ready if before.ready_at.is_some() => return Verdict::Known,
        Topic::Ready => MachineReport {
            ready_at: Some(micro_time(now)),
            broken: None,
            progress: None,
            hostname: content.hostname.clone(),
            host_keys: content.host_keys.clone(),
            done: before.done.clone(),
        },
        Topic::Progress => {
            let waits = matches!(status.state, MemberState::Pending | MemberState::Warming);
            if !waits || before.ready_at.is_some() || content.text.is_empty() {
                return Verdict::Known;
            }
            MachineReport { progress: Some(content.text.clone()), ..before.clone() }
        }
    };
    if after == before {
        return Verdict::Known;
    }
    status.reported = Some(Box::new(after));
    Verdict::Write(Box::new(PoolMember { status: Some(status), ..member.clone() }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn member(status: Value) -> PoolMember {
        let mut member = json!({
            "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolMember",
            "metadata": { "namespace": "ci", "name": "ci-1", "uid": "u-1", "resourceVersion": "7" },
            "spec": { "poolRef": { "name": "ci", "uid": "u" }, "templateHash": "t", "placement": {
                "launchConfig": "sim", "generation": 1, "image": "i", "zone": "z" } },
        });
        member["status"] = status;
        serde_json::from_value(member).unwrap()
    }

    fn says(text: &str) -> Content {
        Content { text: text.to_owned(), ..Content::default() }
    }

    fn written(verdict: Verdict) -> PoolMember {
        let Verdict::Write(member) = verdict else { panic!("{verdict:?}") };
        *member
    }

    #[test]
    fn a_machine_is_ready_once_with_its_host_keys_whatever_it_posts_later() {
        let keys = Content { host_keys: vec!["ssh-ed25519 AAAA".to_owned()], ..Content::default() };
        let warming = member(json!({ "state": "Warming", "reported": { "progress": "half" } }));
        let ready = written(judge(&warming, "u-1", Topic::Ready, &keys, at(9)));
        let status = ready.status.clone().unwrap();
        assert_eq!(status.state, MemberState::Warming, "only the leader makes it Ready");
        let report = status.reported.unwrap();
        assert_eq!((report.ready_at.as_ref().map(|at| at.0), report.progress), (Some(at(9)), None));
        assert_eq!(report.host_keys, keys.host_keys);
        assert_eq!(ready.metadata, warming.metadata, "written on the version that was read");
        for topic in [Topic::Ready, Topic::Progress] {
            assert_eq!(judge(&ready, "u-1", topic, &says("x"), at(10)), Verdict::Known);
        }
    }

    #[test]
    fn another_member_or_one_that_ends_is_none() {
        let mut ending = member(json!({ "state": "Warming" }));
        ending.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(1)));
        let errored = member(json!({ "state": "Errored" }));
        for (member, uid) in [(ending, "u-1"), (errored, "u-1"), (member(json!({ "state": "Ready" })), "u-2")] {
            for topic in [Topic::Ready, Topic::Broken, Topic::Progress] {
                assert_eq!(judge(&member, uid, topic, &says("x"), at(1)), Verdict::Refused);
            }
        }
    }

    #[test]
    fn a_broken_machine_says_why_once_unless_a_claim_has_it() {
        for state in ["Pending", "Warming", "Ready"] {
            let broken =
                written(judge(&member(json!({ "state": state })), "u-1", Topic::Broken, &says("no disk"), at(1)));
            assert_eq!(broken.status.clone().unwrap().reported.unwrap().broken.as_deref(), Some("no disk"));
            for topic in [Topic::Ready, Topic::Broken, Topic::Progress] {
                assert_eq!(judge(&broken, "u-1", topic, &says("more"), at(2)), Verdict::Known);
            }
        }
        let claimed = member(json!({ "state": "Claimed" }));
        assert_eq!(judge(&claimed, "u-1", Topic::Broken, &says("x"), at(1)), Verdict::Late);
        let silent = written(judge(&member(json!({})), "u-1", Topic::Broken, &says(""), at(1)));
        assert_eq!(silent.status.unwrap().reported.unwrap().broken.as_deref(), Some(NO_REASON));
    }

    #[test]
    fn a_job_is_done_once_for_the_claim_that_has_the_machine() {
        let claimed = member(json!({ "state": "Claimed",
            "claimRef": { "namespace": "ci", "name": "job-7", "uid": "c-7" }, "reported": { "broken": "a fan" } }));
        let done = written(judge(&claimed, "u-1", Topic::Done, &says("exit 3"), at(5)));
        let report = done.status.clone().unwrap().reported.unwrap();
        let expected = JobDone { claim_uid: "c-7".into(), at: Some(micro_time(at(5))), result: "exit 3".into() };
        assert_eq!((report.done, report.broken.as_deref()), (Some(expected), Some("a fan")));
        assert_eq!(judge(&done, "u-1", Topic::Done, &says("exit 4"), at(6)), Verdict::Known);
        let mut returned = done;
        returned.status.as_mut().unwrap().claim_ref.as_mut().unwrap().uid = "c-8".into();
        written(judge(&returned, "u-1", Topic::Done, &says("exit 4"), at(6)));
        for state in ["Warming", "Ready"] {
            let free = member(json!({ "state": state }));
            assert_eq!(judge(&free, "u-1", Topic::Done, &says(""), at(5)), Verdict::NotClaimed);
        }
    }

    #[test]
    fn progress_is_written_when_it_is_new_and_the_machine_not_ready() {
        let warming = member(json!({ "state": "Warming" }));
        let half = written(judge(&warming, "u-1", Topic::Progress, &says("half"), at(1)));
        assert_eq!(judge(&half, "u-1", Topic::Progress, &says("half"), at(2)), Verdict::Known);
        assert_eq!(judge(&half, "u-1", Topic::Progress, &says(""), at(2)), Verdict::Known);
        written(judge(&half, "u-1", Topic::Progress, &says("done"), at(3)));
        for state in ["Ready", "Claimed"] {
            let later = member(json!({ "state": state }));
            assert_eq!(judge(&later, "u-1", Topic::Progress, &says("x"), at(1)), Verdict::Known);
        }
    }
}
