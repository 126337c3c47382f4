//! The tags that identify a machine as ours.

use std::collections::BTreeMap;

/// Prefix of our tags; users' tags with it are ignored.
pub const PREFIX: &str = "bullpen.dev/";
/// The installation that the machine belongs to. A machine without our id is never touched.
pub const INSTALLATION: &str = "bullpen.dev/installation";
/// The uid of the member that the machine was bought for; also its idempotency token.
pub const MEMBER_UID: &str = "bullpen.dev/member-uid";
/// The member's namespace.
pub const NAMESPACE: &str = "bullpen.dev/namespace";
/// The member's name.
pub const NAME: &str = "bullpen.dev/name";

/// The uid of the claim that got the machine, set once the claim is Bound. An unclaimed member whose machine has it
/// comes from an old backup.
pub const CLAIM: &str = "bullpen.dev/claim";

/// Namespace and name of that claim, for people: after objects were put back by a backup tool, the uid names nobody.
pub const CLAIM_NAME: &str = "bullpen.dev/claim-name";

/// How many claims the machine had served before that one; absent: none.
pub const CLAIM_USE: &str = "bullpen.dev/claim-use";

/// Bullpen's own tags of a machine. Users' tags are not stored, because there may be thousands of machines with many
/// tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnTags {
    /// [`INSTALLATION`].
    pub installation: Option<Box<str>>,
    /// [`MEMBER_UID`].
    pub member_uid: Option<Box<str>>,
    /// [`NAMESPACE`].
    pub namespace: Option<Box<str>>,
    /// [`NAME`].
    pub name: Option<Box<str>>,
    /// [`CLAIM`].
    pub claim: Option<Box<str>>,
    /// [`CLAIM_NAME`].
    pub claim_name: Option<Box<str>>,
    /// [`CLAIM_USE`].
    pub claim_use: Option<Box<str>>,
}

impl OwnTags {
    /// Whether the machine was bought for the member with this uid. A machine of somebody else that an answer of the
    /// cloud contains is not, whatever was asked for.
    #[must_use]
    pub fn names_member(&self, uid: &str) -> bool {
        self.member_uid.as_deref() == Some(uid)
    }
}

impl<K: AsRef<str>, V: Into<Box<str>>> FromIterator<(K, V)> for OwnTags {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(tags: T) -> Self {
        let mut own = Self::default();
        for (key, value) in tags {
            let place = match key.as_ref() {
                INSTALLATION => &mut own.installation,
                MEMBER_UID => &mut own.member_uid,
                NAMESPACE => &mut own.namespace,
                NAME => &mut own.name,
                CLAIM => &mut own.claim,
                CLAIM_NAME => &mut own.claim_name,
                CLAIM_USE => &mut own.claim_use,
                _ => continue,
            };
            *place = Some(value.into());
        }
        own
    }
}

/// The member that a machine is bought for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The installation's id.
    pub installation: &'a str,
    /// The member's uid.
    pub member_uid: &'a str,
    /// The member's namespace.
    pub namespace: &'a str,
    /// The member's name.
    pub name: &'a str,
}

/// The owner's tags.
pub fn of_owner(owner: &Owner<'_>) -> BTreeMap<String, String> {
    let ours = [
        (INSTALLATION, owner.installation),
        (MEMBER_UID, owner.member_uid),
        (NAMESPACE, owner.namespace),
        (NAME, owner.name),
    ];
    ours.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The owner's tags and the user's. A user's tag with [`PREFIX`] is left out, because it could claim another's machine.
pub fn all(owner: &Owner<'_>, user: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let user = user.iter().filter(|(key, _)| !key.starts_with(PREFIX)).map(|(key, value)| (key.clone(), value.clone()));
    user.chain(of_owner(owner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_machine_s_tags_only_our_own_are_read() {
        let owner = Owner { installation: "here", member_uid: "u-1", namespace: "ci", name: "ci-1" };
        let own: OwnTags = all(&owner, &[("team".to_owned(), "web".to_owned())].into()).into_iter().collect();
        assert_eq!(own.installation.as_deref(), Some("here"));
        assert_eq!(own.member_uid.as_deref(), Some("u-1"));
        assert_eq!((own.namespace.as_deref(), own.name.as_deref()), (Some("ci"), Some("ci-1")));
        assert_eq!(own.claim, None);
        let claimed: OwnTags = [(CLAIM, "c-1"), ("bullpen.dev/other", "x")].into_iter().collect();
        assert_eq!(claimed, OwnTags { claim: Some("c-1".into()), ..OwnTags::default() });
    }

    #[test]
    fn a_user_tag_cannot_stand_in_for_one_of_ours() {
        let owner = Owner { installation: "here", member_uid: "u-1", namespace: "ci", name: "ci-1" };
        let user = [("team", "web"), (INSTALLATION, "elsewhere"), ("bullpen.dev/claim", "mine")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let tags = all(&owner, &user.into());
        assert_eq!(tags.get(INSTALLATION).map(String::as_str), Some("here"));
        assert_eq!(tags.get("team").map(String::as_str), Some("web"));
        assert_eq!(
            tags.keys().map(String::as_str).collect::<Vec<_>>(),
            [INSTALLATION, MEMBER_UID, NAME, NAMESPACE, "team"]
        );
    }
}
