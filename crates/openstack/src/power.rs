//! Calls that switch servers off and on, and what Compute remembers of them.

use bullpen_cloud_http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::CallError;
use crate::servers::{in_utc, of_server};

/// Something that was done with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What, such as `start` or `stop`.
    pub name: String,
    /// When Compute took it on, by its own clock, in whole seconds.
    pub began: Timestamp,
}

impl Client {
    /// Begins to switch a server off.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with 409 if it is off, or something else is being done with it.
    pub async fn stop_server(&self, id: &str) -> Result<(), CallError> {
        self.act(id, "os-stop").await
    }

    /// Begins to switch a server on that was switched off by [`stop_server`](Self::stop_server).
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with 409 if it is on, or something else is being done with it.
    pub async fn start_server(&self, id: &str) -> Result<(), CallError> {
        self.act(id, "os-start").await
    }

    /// Begins to save the memory of a server and to switch it off.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with 409 if it does not run, or something else is being done with it.
    pub async fn suspend_server(&self, id: &str) -> Result<(), CallError> {
        self.act(id, "suspend").await
    }

    /// Begins to have a server go on that was suspended.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with 409 if it is not suspended, or something else is being done with it.
    pub async fn resume_server(&self, id: &str) -> Result<(), CallError> {
        self.act(id, "resume").await
    }

    async fn act(&self, id: &str, action: &str) -> Result<(), CallError> {
        self.call::<Value>(&of_server(Method::POST, id, "/action", Some(&json!({ action: null })))).await.map(drop)
    }

    /// What was done with a server, the latest first: at most as many as Compute shows at once, mostly 1,000.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with 404 if there is no such server.
    pub async fn actions(&self, id: &str) -> Result<Vec<Action>, CallError> {
        #[derive(Deserialize)]
        struct Actions {
            #[serde(rename = "instanceActions")]
            actions: Vec<Shown>,
        }
        #[derive(Deserialize)]
        struct Shown {
            action: String,
            start_time: String,
        }
        let all: Actions = self.call(&of_server(Method::GET, id, "/os-instance-actions", None)).await?;
        let read = |shown: Shown| {
            let began = in_utc(&shown.start_time)
                .ok_or_else(|| CallError::unknown(format!("{}: no moment of an action", shown.start_time)))?;
            Ok(Action { name: shown.action, began })
        };
        all.actions.into_iter().map(read).collect()
    }
}
