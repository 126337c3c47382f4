//! A server of Compute as a machine, and tags as its metadata.

use std::collections::BTreeMap;

use bullpen_openstack::{Server, Status};
use jiff::Timestamp;

use super::errors::refusal;
use super::{PREFIX, rebuild};
use crate::provider::{
    AddressKind, Instance, InstanceAddress, InstancePhase, MachineFault, OwnTags, ProviderError, tags,
};

/// Longest key or value of metadata.
const MAX_TEXT: usize = 255;

/// Tags as metadata of a server.
///
/// # Errors
/// `Invalid` with the key of a tag that Compute does not take.
pub(super) fn metadata(tags: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ProviderError> {
    let pair = |(key, value): (&String, &String)| {
        let key = key.strip_prefix(tags::PREFIX).map_or_else(|| key.clone(), |rest| format!("{PREFIX}{rest}"));
        let known = |letter: char| letter.is_ascii_alphanumeric() || "-_:. ".contains(letter);
        if key.is_empty() || key.len() > MAX_TEXT || !key.chars().all(known) {
            let what = "OpenStack takes 1 to 255 letters, digits, blanks and any of - _ : . in a key";
            return Err(ProviderError::invalid(format!("tag {key:?}: {what}")));
        }
        if value.chars().count() > MAX_TEXT {
            return Err(ProviderError::invalid(format!(
                "tag {key:?}: OpenStack takes values of at most 255 characters"
            )));
        }
        Ok((key, value.clone()))
    };
    tags.iter().map(pair).collect()
}

/// Bullpen's own tags in the metadata of a server.
fn own_tags(metadata: &BTreeMap<String, String>) -> OwnTags {
    let ours = metadata.iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)));
    ours.map(|(key, value)| (format!("{}{key}", tags::PREFIX), value.as_str())).collect()
}

/// The phase of a server, and whether it runs well.
fn phase(server: &Server) -> (InstancePhase, bool) {
    let task = server.task.as_deref().unwrap_or_default();
    if task.contains("delet") {
        return (InstancePhase::ShuttingDown, false);
    }
    match &server.status {
        Status::Active if ["powering-off", "suspending"].contains(&task) => (InstancePhase::Stopping, false),
        Status::Shutoff if task == "powering-on" => (InstancePhase::Pending, false),
        Status::Suspended if task == "resuming" => (InstancePhase::Pending, false),
        // Compute shows a server as ACTIVE for a moment after it has taken the rebuild on.
        Status::Active if task.contains("rebuild") => (InstancePhase::Pending, false),
        Status::Active => (InstancePhase::Running, server.task.is_none()),
        Status::Build | Status::Rebuild => (InstancePhase::Pending, false),
        Status::Reboot => (InstancePhase::Running, false),
        // Its record and perhaps its volumes are still there.
        Status::Error | Status::Shutoff | Status::Suspended | Status::Shelved => (InstancePhase::Stopped, false),
        // Only the cloud's own people could bring it back.
        Status::SoftDeleted | Status::Deleted => (InstancePhase::Terminated, false),
        Status::Other(status) if ["PAUSED", "RESCUE"].contains(&status.as_str()) => (InstancePhase::Stopped, false),
        // Moved, resized, or its host does not answer: it is no less there.
        Status::Other(_) => (InstancePhase::Running, false),
    }
}

/// The machine of a server that was last started then, if it ever was after its launch.
pub(super) fn instance(server: Server, region: &str, started: Option<Timestamp>) -> Instance {
    let (phase, ready) = phase(&server);
    // One that is made, or made anew, has not begun to run.
    let ran = match phase {
        InstancePhase::Running | InstancePhase::Stopping | InstancePhase::Stopped => true,
        InstancePhase::Pending => matches!(server.status, Status::Shutoff | Status::Suspended),
        InstancePhase::ShuttingDown | InstancePhase::Terminated => false,
    };
    let gone = phase == InstancePhase::Terminated;
    let addresses = server.addresses.iter().filter(|_| !gone).map(|address| InstanceAddress {
        kind: if address.floating { AddressKind::ExternalIp } else { AddressKind::InternalIp },
        address: address.address.clone(),
    });
    let fault = server.fault.as_ref().filter(|_| server.status == Status::Error);
    let fault = fault.map(|fault| Box::new(MachineFault { message: fault.message.clone(), refusal: refusal(fault) }));
    let tags = own_tags(&server.metadata);
    Instance {
        token: tags.member_uid.as_deref().map(str::to_owned),
        region: region.to_owned(),
        zone: server.zone.clone(),
        instance_type: server.flavor.clone(),
        image: server.image.clone().unwrap_or_default(),
        phase,
        ready,
        addresses: addresses.collect(),
        launch_time: server.created,
        boot_time: server.launched.max(started).filter(|_| ran),
        start_time: None,
        interruption: None,
        reset: rebuild::finished(&server).map(Box::new),
        fault,
        tags,
        id: server.id,
    }
}

#[cfg(test)]
mod tests {
    use bullpen_openstack::Fault;

    use super::super::rebuild::server;
    use super::*;

    #[test]
    fn a_server_that_cannot_serve_is_stopped_and_one_that_ends_is_ending() {
        use InstancePhase::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
        let other = |text: &str| Status::Other(text.to_owned());
        for (status, task, expected) in [
            (Status::Active, None, (Running, true)),
            (Status::Active, Some("deleting"), (ShuttingDown, false)),
            (Status::Active, Some("rebuild_spawning"), (Pending, false)),
            (Status::Active, Some("image_snapshot"), (Running, false)),
            (Status::Active, Some("powering-off"), (Stopping, false)),
            (Status::Shutoff, Some("powering-on"), (Pending, false)),
            (Status::Build, Some("spawning"), (Pending, false)),
            (Status::Rebuild, Some("rebuilding"), (Pending, false)),
            (Status::Reboot, Some("rebooting"), (Running, false)),
            (Status::Error, None, (Stopped, false)),
            (Status::Error, Some("deleting"), (ShuttingDown, false)),
            (Status::Shutoff, None, (Stopped, false)),
            (Status::Shelved, None, (Stopped, false)),
            (Status::SoftDeleted, None, (Terminated, false)),
            (Status::Deleted, None, (Terminated, false)),
            (Status::Active, Some("suspending"), (Stopping, false)),
            (Status::Suspended, None, (Stopped, false)),
            (Status::Suspended, Some("resuming"), (Pending, false)),
            (other("PAUSED"), None, (Stopped, false)),
            (other("MIGRATING"), Some("migrating"), (Running, false)),
            (other("UNKNOWN"), None, (Running, false)),
        ] {
            let server = Server { task: task.map(str::to_owned), ..server(status.clone()) };
            assert_eq!(phase(&server), expected, "{status:?} {task:?}");
        }
    }

    #[test]
    fn tags_become_metadata_and_are_read_from_it() {
        let tags =
            [("bullpen.dev/member-uid", "u-1"), ("bullpen.dev/installation", "here"), ("Cost centre", "R+D / ä")];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let metadata = metadata(&tags).unwrap();
        assert_eq!(
            metadata.keys().collect::<Vec<_>>(),
            ["Cost centre", "bullpen.dev:installation", "bullpen.dev:member-uid"]
        );
        let shown = instance(Server { metadata, ..server(Status::Active) }, "r1", None);
        assert!(shown.tags.names_member("u-1") && shown.tags.installation.as_deref() == Some("here"));
        assert_eq!(shown.token.as_deref(), Some("u-1"));
    }

    #[test]
    fn a_tag_that_compute_does_not_take_is_named() {
        let error = metadata(&[("example.com/team".to_owned(), "web".to_owned())].into()).unwrap_err();
        assert!(error.to_string().contains("example.com/team"), "{error}");
        assert!(metadata(&[("team".to_owned(), "x".repeat(256))].into()).is_err());
    }

    #[test]
    fn a_server_that_failed_says_why() {
        let fault = Fault { code: 500, message: "No valid host was found. ".into() };
        let shown = instance(Server { fault: Some(fault.clone()), ..server(Status::Error) }, "r1", None);
        assert!(matches!(shown.fault.unwrap().refusal, Some(ProviderError::Capacity { .. })));
        let shown = instance(Server { fault: Some(fault), ..server(Status::Active) }, "r1", None);
        assert_eq!(shown.fault, None, "it is an old fault");
    }
}
