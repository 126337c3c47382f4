//! Messages of a queue of SQS: what comes from `EventBridge` about machines.

use serde_json::json;

use crate::client::{Client, Service};
use crate::error::CallError;

/// A message that was received. It comes again after the queue's visibility timeout, until it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What deletes it.
    pub receipt: String,
    /// Its text.
    pub body: String,
}

impl Client {
    /// Up to ten messages. Waits up to 20 s for the first one.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn receive_messages(&self, queue_url: &str, wait_seconds: u32) -> Result<Vec<Message>, CallError> {
        let body = json!({ "QueueUrl": queue_url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": wait_seconds });
        let answer = self.json(Service::Sqs, "AmazonSQS.ReceiveMessage", &body).await?;
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        let text = |message: &serde_json::Value, name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let read = |message: &serde_json::Value| Message {
            receipt: text(message, "ReceiptHandle"),
            body: text(message, "Body"),
        };
        Ok(messages.iter().map(read).filter(|message| !message.receipt.is_empty()).collect())
    }

    /// Deletes a message.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn delete_message(&self, queue_url: &str, receipt: &str) -> Result<(), CallError> {
        let body = json!({ "QueueUrl": queue_url, "ReceiptHandle": receipt });
        self.json(Service::Sqs, "AmazonSQS.DeleteMessage", &body).await.map(drop)
    }
}
