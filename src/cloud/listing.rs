//! The machines that one list showed.

use std::collections::HashMap;
use std::sync::Arc;

use bullpen_plan::claim::claim_tag::Served;
use jiff::Timestamp;

use crate::provider::Instance;

/// The machines that one list showed, by id.
#[derive(Debug)]
pub struct Listing {
    /// When the list was requested.
    pub began: Timestamp,
    pub(super) by_id: HashMap<Box<str>, Arc<Instance>>,
    by_token: HashMap<Box<str>, Arc<Instance>>,
}

impl Listing {
    /// A list. Machines that have not changed since the list before share its copy.
    pub fn new(began: Timestamp, instances: Vec<Instance>, before: Option<&Self>) -> Self {
        let (mut by_id, mut by_token) = (HashMap::new(), HashMap::new());
        by_id.reserve(instances.len());
        by_token.reserve(instances.len());
        for instance in instances {
            let known = before.and_then(|before| before.by_id.get(instance.id.as_str()));
            let instance = known.filter(|known| ***known == instance).cloned().unwrap_or_else(|| Arc::new(instance));
            if let Some(uid) = &instance.tags.member_uid {
                by_token.insert(uid.clone(), instance.clone());
            }
            by_id.insert(instance.id.as_str().into(), instance);
        }
        Self { began, by_id, by_token }
    }

    /// Whether a machine that lived in this list is missing in the later one.
    pub(super) fn lost_some_in(&self, later: &Self) -> bool {
        self.by_id.values().any(|machine| !machine.phase.is_ending() && !later.by_id.contains_key(machine.id.as_str()))
    }

    pub(super) fn size(&self) -> u32 {
        u32::try_from(self.by_id.len()).unwrap_or(u32::MAX)
    }

    /// All machines.
    pub fn machines(&self) -> impl Iterator<Item = &Instance> {
        self.by_id.values().map(Arc::as_ref)
    }

    /// What the machine with this id shows of the claims that it served.
    pub fn served(&self, id: &str) -> Served<'_> {
        self.by_id.get(id).map(|instance| instance.served()).unwrap_or_default()
    }

    /// The machine with this id, or else the one that was bought for the member with this uid.
    pub fn find(&self, uid: &str, id: Option<&str>) -> Option<Arc<Instance>> {
        id.map_or_else(|| self.by_token.get(uid), |id| self.by_id.get(id)).cloned()
    }

    /// The machine with this id.
    pub fn with_id(&self, id: &str) -> Option<&Arc<Instance>> {
        self.by_id.get(id)
    }
}
