//! Whether this installation may work on a pool or a launch config; asked before anything else is done with one.

use std::collections::HashSet;
use std::sync::Arc;

use bullpen_api::{EventAction, Reason};
use bullpen_plan::operator::installation::{Standing, stands_off};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::common::Common;
use super::convert;
use crate::cluster::writes::WrittenKind;
use crate::runtime::failure::Failure;
use crate::state::marks::Marked;

/// The objects of other installations that were reported in this term, by uid; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reported(Arc<Mutex<HashSet<String>>>);

/// What to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Work on it.
    Work,
    /// This installation was just recorded, or somebody else was faster: its change wakes it again.
    Marking,
    /// Another installation works on it.
    Alone,
}

/// Whether to work on this object. Records this installation if none is, and reports once that another one is.
pub async fn of<K: Marked + WrittenKind>(common: &Common, reported: &Reported, object: &K) -> Result<Leave, Failure> {
    let (own, uid) = (common.cluster.with(|state| state.installation.clone()), convert::uid(object));
    match object.standing(&own) {
        Standing::Ours => Ok(Leave::Work),
        Standing::ToMark => {
            // A compare-and-swap: of two installations, one is recorded.
            common.writes.update_status(&object.marked(&own)).await?;
            reported.0.lock().remove(&uid);
            if let Some(before) = object.mark() {
                info!(object = %object.name_any(), before, "taken over from another installation, by a person's word");
            }
            Ok(Leave::Marking)
        }
        Standing::Others(other) => {
            if reported.0.lock().insert(uid) {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                let message = stands_off(&own, other, K::RESOURCE, &namespace, &name);
                warn!(kind = K::RESOURCE, namespace, name, "{message}");
                common.events.warn(object, Reason::OtherInstallation, EventAction::Observe, message);
            }
            Ok(Leave::Alone)
        }
    }
}
