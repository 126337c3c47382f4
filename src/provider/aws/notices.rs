//! Interruption notices of EC2, which `EventBridge` puts into a queue of SQS.
//!
//! A message is deleted only when its machine is gone: until then it comes again, also to the next leader.

use std::collections::HashMap;
use std::time::Duration;

use bullpen_ec2::{Client, Message};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;
use tracing::{info, warn};

use crate::provider::{Instance, Interruption, InterruptionReason};

/// EC2 takes a Spot machine away two minutes after its notice.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>
const SPOT_NOTICE: SignedDuration = SignedDuration::from_mins(2);
/// A machine that still runs this long after its time stays: the notice is taken back.
const WITHDRAWN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// The longest wait for a message that SQS allows, in seconds.
const WAIT_SECONDS: u32 = 20;
/// How soon to ask again after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(20);

/// The notices of one account and region.
#[derive(Debug)]
pub(super) struct Notices {
    queue: Option<String>,
    known: Mutex<HashMap<String, Notice>>,
}

#[derive(Clone, Debug)]
struct Notice {
    interruption: Interruption,
    /// What deletes the message as it was received last.
    receipt: String,
}

impl Notices {
    /// Notices from the queue with this URL, or none.
    pub(super) fn of(queue: Option<String>) -> Self {
        Self { queue, known: Mutex::default() }
    }

    /// The notice of a machine.
    pub(super) fn of_machine(&self, id: &str) -> Option<Box<Interruption>> {
        self.known.lock().get(id).map(|notice| Box::new(notice.interruption))
    }

    /// Waits until there is a notice that was not known. For ever without a queue.
    pub(super) async fn news(&self, client: &Client) {
        let Some(queue) = &self.queue else { return std::future::pending().await };
        let mut failing = false;
        loop {
            match client.receive_messages(queue, WAIT_SECONDS).await {
                Ok(messages) => {
                    failing = false;
                    if self.take(client, queue, messages).await {
                        return;
                    }
                }
                Err(error) => {
                    if !failing {
                        warn!(queue, %error, "interruption notices cannot be read");
                    }
                    failing = true;
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// Remembers what messages announce, and deletes those that announce nothing. Returns whether anything is new.
    async fn take(&self, client: &Client, queue: &str, messages: Vec<Message>) -> bool {
        let mut is_new = false;
        for Message { receipt, body } in messages {
            let announced = announced(&body);
            if announced.is_empty() {
                delete(client, queue, &receipt).await;
            }
            for (id, interruption) in announced {
                let notice = Notice { interruption, receipt: receipt.clone() };
                let before = self.known.lock().insert(id.clone(), notice);
                if before.is_none_or(|before| before.interruption != interruption) {
                    info!(instance = id, %interruption, "notice");
                    is_new = true;
                }
            }
        }
        is_new
    }

    /// Forgets the notices of machines that are not in this list or have ended, and of those that were not taken away.
    pub(super) async fn settle(&self, client: &Client, listed: &[Instance], now: Timestamp) {
        let Some(queue) = &self.queue else { return };
        let lives = |id: &String| listed.iter().any(|instance| instance.id == *id && !instance.phase.is_ending());
        let over = |notice: &Notice| now.duration_since(notice.interruption.time) > WITHDRAWN_AFTER;
        let done: Vec<_> = {
            let mut known = self.known.lock();
            known.extract_if(|id, notice| !lives(id) || over(notice)).collect()
        };
        for (_, notice) in done {
            delete(client, queue, &notice.receipt).await;
        }
    }
}

/// A message that cannot be deleted comes again, which does no harm.
async fn delete(client: &Client, queue: &str, receipt: &str) {
    if let Err(error) = client.delete_message(queue, receipt).await {
        warn!(queue, %error, "a message is not deleted");
    }
}

/// The machines that an event of `EventBridge` announces to be taken away. None for any other event, also for the
/// recommendation to rebalance: a machine that got one may run for days.
fn announced(body: &str) -> Vec<(String, Interruption)> {
    let Ok(event) = serde_json::from_str::<Value>(body) else { return Vec::new() };
    let detail = &event["detail"];
    match event["detail-type"].as_str() {
        Some("EC2 Spot Instance Interruption Warning") => {
            let time = event["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
            let time = time.and_then(|time| time.checked_add(SPOT_NOTICE).ok());
            let id = detail["instance-id"].as_str();
            let found = id.zip(time).map(|(id, time)| (id, Interruption { time, reason: InterruptionReason::Spot }));
            found.into_iter().map(|(id, interruption)| (id.to_owned(), interruption)).collect()
        }
        Some("AWS Health Event") if detail["service"] == "EC2" && detail["eventTypeCategory"] == "scheduledChange" => {
            let time = detail["startTime"].as_str().and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
            let Some(time) = time.map(|time| time.timestamp()) else { return Vec::new() };
            let interruption = Interruption { time, reason: InterruptionReason::Maintenance };
            let entities = detail["affectedEntities"].as_array().into_iter().flatten();
            let ids = entities.filter_map(|entity| entity["entityValue"].as_str());
            ids.filter(|id| id.starts_with("i-")).map(|id| (id.to_owned(), interruption)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spot_warning_is_a_notice_for_two_minutes_later() {
        let event = json!({ "detail-type": "EC2 Spot Instance Interruption Warning", "time": "2026-01-02T03:04:05Z",
            "detail": { "instance-id": "i-1", "instance-action": "terminate" } });
        let time = "2026-01-02T03:06:05Z".parse().unwrap();
        let expected = Interruption { time, reason: InterruptionReason::Spot };
        assert_eq!(announced(&event.to_string()), [("i-1".to_owned(), expected)]);
    }

    #[test]
    fn a_scheduled_change_is_a_notice_for_each_machine_that_it_affects() {
        let event = json!({ "detail-type": "AWS Health Event", "detail": {
            "service": "EC2", "eventTypeCategory": "scheduledChange", "startTime": "Sat, 05 Jun 2027 15:10:09 GMT",
            "affectedEntities": [{ "entityValue": "i-1" }, { "entityValue": "vol-1" }, { "entityValue": "i-2" }] } });
        let found = announced(&event.to_string());
        let ids: Vec<_> = found.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["i-1", "i-2"]);
        assert_eq!(found[0].1.reason, InterruptionReason::Maintenance);
        assert_eq!(found[0].1.time, "2027-06-05T15:10:09Z".parse().unwrap());
    }

    #[test]
    fn nothing_else_is_a_notice() {
        for other in [
            json!({ "detail-type": "EC2 Instance Rebalance Recommendation", "time": "2026-01-02T03:04:05Z",
                "detail": { "instance-id": "i-1" } }),
            json!({ "detail-type": "EC2 Spot Instance Interruption Warning", "detail": { "instance-id": "i-1" } }),
            json!({ "detail-type": "AWS Health Event", "detail": { "service": "RDS",
                "eventTypeCategory": "scheduledChange", "affectedEntities": [{ "entityValue": "i-1" }] } }),
            json!([1, 2]),
        ] {
            assert_eq!(announced(&other.to_string()), [], "{other}");
        }
        assert_eq!(announced("no JSON"), []);
    }
}
