//! Replacing the root volume of a running machine by a fresh one of an image.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/replace-root.html>

use jiff::Timestamp;
use serde::Deserialize;

use crate::client::{Client, Service};
use crate::error::CallError;
use crate::xml::{self, Items, text};

/// The replacement of a root volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceRootVolumeTask {
    /// Its id, `replacevol-…`.
    pub id: String,
    /// The machine.
    pub instance: String,
    /// The image of the new volume.
    pub image: Option<String>,
    /// How far it is.
    pub state: TaskState,
    /// When it ended; EC2 restarts the machine with its new volume before that.
    pub complete_time: Option<Timestamp>,
}

/// How far a replacement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It goes on.
    InProgress,
    /// The machine runs from its new volume.
    Succeeded,
    /// It failed; the machine may run from its old volume.
    Failed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    replace_root_volume_task_id: String,
    instance_id: String,
    image_id: Option<String>,
    task_state: String,
    complete_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    replace_root_volume_task: Shown,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    replace_root_volume_task_set: Items<Shown>,
    next_token: Option<String>,
}

impl Shown {
    fn read(self) -> Result<ReplaceRootVolumeTask, CallError> {
        let state = match self.task_state.as_str() {
            "pending" | "in-progress" => TaskState::InProgress,
            "succeeded" => TaskState::Succeeded,
            "failing" | "failed" | "failed-detached" => TaskState::Failed,
            other => return Err(CallError::unknown(format!("task state {other:?}"))),
        };
        Ok(ReplaceRootVolumeTask {
            id: self.replace_root_volume_task_id,
            instance: self.instance_id,
            image: text(self.image_id),
            state,
            complete_time: text(self.complete_time).and_then(|time| time.parse().ok()),
        })
    }
}

impl Client {
    /// Begins to replace the root volume of a running machine by a new one of this image; the old one is deleted. The
    /// machine restarts. The same token begins it once.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn replace_root_volume(
        &self,
        instance: &str,
        image: &str,
        token: &str,
    ) -> Result<ReplaceRootVolumeTask, CallError> {
        let mut query = Self::ec2("CreateReplaceRootVolumeTask");
        query.put("InstanceId", instance);
        query.put("ImageId", image);
        query.put("ClientToken", token);
        query.put("DeleteReplacedRootVolume", "true");
        xml::read::<Created>(&self.query(Service::Ec2, &query).await?)?.replace_root_volume_task.read()
    }

    /// All replacements of this machine's root volume that EC2 still shows.
    ///
    /// # Errors
    /// Any [`CallError`] of any page.
    pub async fn root_volume_tasks(&self, instance: &str) -> Result<Vec<ReplaceRootVolumeTask>, CallError> {
        let (mut tasks, mut next) = (Vec::new(), None::<String>);
        // A machine is reset some hundred times at most, and a page has 50 or more.
        for _ in 0..100 {
            let mut query = Self::ec2("DescribeReplaceRootVolumeTasks");
            query.put("Filter.1.Name", "instance-id");
            query.put("Filter.1.Value.1", instance);
            query.put_some("NextToken", next.as_deref());
            let page: Page = xml::read(&self.query(Service::Ec2, &query).await?)?;
            for shown in page.replace_root_volume_task_set.items {
                tasks.push(shown.read()?);
            }
            next = text(page.next_token);
            if next.is_none() {
                return Ok(tasks);
            }
        }
        Err(CallError::unknown("a list of replacements did not end"))
    }
}
