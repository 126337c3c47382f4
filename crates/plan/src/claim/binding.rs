//! The binding Secret of a claim: its name, its content, and how to judge an existing Secret of that name.

use std::collections::BTreeMap;

use bullpen_api::{Binding, InstanceAddress, PoolClaim, PoolMember};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use zeroize::Zeroizing;

use super::lifetime::{TermRules, Wish, begin};
use crate::time::earliest;

/// The value of `type` as servicebinding.io defines it; also the suffix of the Secret's type.
const KIND: &str = "ssh";
const PORT: &str = "22";
/// The member that the Secret is for, as `namespace/name`.
pub const ANNOTATION_MEMBER: &str = "bullpen.dev/member";
/// Uid of that member.
pub const ANNOTATION_MEMBER_UID: &str = "bullpen.dev/member-uid";
/// The address of the machine, once it is another one than when the Secret was made.
pub const ANNOTATION_HOST: &str = "bullpen.dev/host";
/// When the operator saw that.
pub const ANNOTATION_HOST_CHANGED_AT: &str = "bullpen.dev/host-changed-at";

/// The name of the claim's Secret, if the claim asks for one. It is predictable, so a Pod may refer to it before it
/// exists.
pub fn secret_name(claim: &PoolClaim) -> Option<String> {
    let wanted = claim.spec.binding == Some(Binding::Secret);
    wanted.then(|| format!("{}-binding", claim.metadata.name.as_deref().unwrap_or_default()))
}

/// The Secret of `claim` for `member`. `provider` is the provider's kind, `key` the private key in OpenSSH format; what
/// is not known is left out.
pub fn secret(
    name: &str,
    claim: &PoolClaim,
    member: &PoolMember,
    provider: Option<&str>,
    key: Option<&Zeroizing<String>>,
) -> Secret {
    let machine = member.status.as_ref().and_then(|status| status.instance.as_ref());
    let known_hosts = known_hosts(member);
    let entries = [
        ("type", Some(KIND)),
        ("provider", provider),
        ("host", machine.and_then(|machine| host(&machine.addresses))),
        ("port", Some(PORT)),
        ("username", member.spec.ssh.as_ref().map(|ssh| ssh.user.as_str())),
        ("ssh-privatekey", key.map(|key| key.as_str())),
        ("known_hosts", known_hosts.as_deref()),
        ("instance-id", machine.map(|machine| machine.id.as_str())),
    ];
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let meta = &member.metadata;
    Secret {
        metadata: ObjectMeta {
            namespace: claim.metadata.namespace.clone(),
            name: Some(name.to_owned()),
            annotations: Some(BTreeMap::from([
                (
                    ANNOTATION_MEMBER.to_owned(),
                    format!("{}/{}", text(meta.namespace.as_ref()), text(meta.name.as_ref())),
                ),
                (ANNOTATION_MEMBER_UID.to_owned(), text(meta.uid.as_ref())),
            ])),
            owner_references: Some(vec![owner(claim)]),
            ..ObjectMeta::default()
        },
        data: Some(
            entries
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), ByteString(value?.as_bytes().to_vec()))))
                .collect(),
        ),
        type_: Some(format!("servicebinding.io/{KIND}")),
        ..Secret::default()
    }
}

/// What SSH needs to know the machine by, in the format of `known_hosts`: the host keys that it reported, at its addresses
/// and its own name. `None` if it reported none.
fn known_hosts(member: &PoolMember) -> Option<String> {
    let status = member.status.as_ref()?;
    let reported = status.reported.as_ref().filter(|reported| !reported.host_keys.is_empty())?;
    let plain = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte))
    };
    let addresses = status.instance.iter().flat_map(|machine| &machine.addresses);
    let names = addresses.map(|address| address.address.as_str()).chain(reported.hostname.as_deref());
    let names = names.filter(plain).collect::<Vec<_>>().join(",");
    let lines = reported.host_keys.iter().map(|key| format!("{names} {key}\n"));
    (!names.is_empty()).then(|| lines.collect())
}

/// What has to change in a claim's Secret because its machine has another address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readdressed {
    /// The new `host`.
    pub host: String,
    /// The new `known_hosts`, if the machine reported its host keys.
    pub known_hosts: Option<String>,
    /// Whether the entry cannot be changed: earlier versions made Secrets immutable. The annotations have it then.
    pub immutable: bool,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What has to change in the claim's Secret `found`. `None` if it has the address, or is not the claim's for this member.
pub fn readdressed(found: &Secret, claim: &PoolClaim, member: &PoolMember, now: Timestamp) -> Option<Readdressed> {
    let uid = member.metadata.uid.as_deref().unwrap_or_default();
    let machine = member.status.as_ref().and_then(|status| status.instance.as_ref())?;
    let host = host(&machine.addresses)?;
    let annotated = found.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION_HOST));
    let entry = found.data.as_ref().and_then(|data| data.get("host")).map(|entry| entry.0.as_slice());
    let immutable = found.immutable == Some(true);
    let known = if immutable { annotated.map(String::as_bytes).or(entry) } else { entry };
    if known == Some(host.as_bytes()) || judge(found, claim, uid) != Present::Ours {
        return None;
    }
    let annotations = BTreeMap::from([
        (ANNOTATION_HOST.to_owned(), host.to_owned()),
        (ANNOTATION_HOST_CHANGED_AT.to_owned(), format!("{now:.0}")),
    ]);
    Some(Readdressed { host: host.to_owned(), known_hosts: known_hosts(member), immutable, annotations })
}

/// The address of the machine: the internal one if known, else the first.
fn host(addresses: &[InstanceAddress]) -> Option<&str> {
    let internal = addresses.iter().find(|address| address.type_ == "InternalIP");
    internal.or_else(|| addresses.first()).map(|address| address.address.as_str())
}

/// The owner reference to the claim. `blockOwnerDeletion` is unset because it would need one more permission.
fn owner(claim: &PoolClaim) -> OwnerReference {
    OwnerReference {
        api_version: PoolClaim::api_version(&()).into_owned(),
        kind: PoolClaim::kind(&()).into_owned(),
        name: claim.metadata.name.clone().unwrap_or_default(),
        uid: claim.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// How long a claim keeps a machine while its Secret cannot be made, if nothing sets a shorter time.
const SECRET_PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// When a claim fails that has had a member since `claimed_at` and whose Secret cannot be made: the limits of a claim
/// hold for it too. `rules` are those of the member's pool.
pub fn fails_at(claim: &PoolClaim, claimed_at: Timestamp, rules: &TermRules) -> Timestamp {
    let held = begin(Wish::of(&claim.spec), rules, claimed_at).expires_at;
    let created = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let waited = created.zip(claim.spec.wait_timeout_seconds).map(|(created, seconds)| {
        created.saturating_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
    });
    let patience = claimed_at.saturating_add(SECRET_PATIENCE).unwrap_or(Timestamp::MAX);
    earliest(earliest(held, waited), Some(patience)).unwrap_or(patience)
}

/// What an existing Secret of the claim's Secret name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present {
    /// The claim's Secret for this member, created by an earlier attempt.
    Ours,
    /// The claim's Secret for another member. The user may have read it already.
    OfAnotherMember {
        /// Namespace of that member.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// The Secret of an earlier claim of the same name. The garbage collector deletes it soon.
    OfEarlierClaim,
    /// Made for an earlier claim of the same name, whose deletion orphaned it: nothing deletes it.
    Orphaned,
    /// Not created for this claim.
    Foreign,
}

/// Judges an existing Secret of the claim's Secret name.
pub fn judge(found: &Secret, claim: &PoolClaim, member_uid: &str) -> Present {
    let ours = owner(claim);
    let owners = found.metadata.owner_references.as_deref().unwrap_or_default();
    let Some(theirs) = owners.iter().find(|theirs| theirs.controller == Some(true)) else {
        let annotated = found.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(ANNOTATION_MEMBER_UID));
        return if annotated { Present::Orphaned } else { Present::Foreign };
    };
    if theirs.uid != ours.uid {
        let earlier = theirs.kind == ours.kind && theirs.api_version == ours.api_version && theirs.name == ours.name;
        return if earlier { Present::OfEarlierClaim } else { Present::Foreign };
    }
    let annotation = |key| found.metadata.annotations.as_ref()?.get(key);
    match (annotation(ANNOTATION_MEMBER_UID), annotation(ANNOTATION_MEMBER).and_then(|name| name.split_once('/'))) {
        (Some(uid), _) if uid == member_uid => Present::Ours,
        (Some(uid), Some((namespace, name))) => {
            Present::OfAnotherMember { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.clone() }
        }
        _ => Present::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(uid: &str) -> PoolClaim {
        serde_json::from_value(json!({
            "metadata": {"namespace": "team", "name": "build-1", "uid": uid},
            "spec": {"poolRef": {"name": "ci"}, "binding": "Secret"},
        }))
        .unwrap()
    }

    fn member(uid: &str) -> PoolMember {
        serde_json::from_value(json!({
            "metadata": {"namespace": "pools", "name": format!("ci-{uid}"), "uid": uid},
            "spec": {
                "poolRef": {"name": "ci", "uid": "p"},
                "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
                "templateHash": "h",
                "ssh": {"user": "ci", "keyId": "k"},
            },
            "status": {"instance": {"id": "i-1", "addresses": [
                {"type": "ExternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "10.0.0.1"},
            ]}},
        }))
        .unwrap()
    }

    fn of(claim_uid: &str, member_uid: &str) -> Secret {
        let key = Zeroizing::new("PRIVATE".to_owned());
        secret("build-1-binding", &claim(claim_uid), &member(member_uid), Some("simulated"), Some(&key))
    }

    #[test]
    fn a_secret_gets_the_new_address_of_its_machine_and_an_immutable_one_says_it_in_an_annotation() {
        let mut moved = member("m");
        let at = |member: &mut PoolMember, address: &str| {
            let machine = member.status.as_mut().and_then(|status| status.instance.as_mut()).unwrap();
            machine.addresses = vec![InstanceAddress { type_: "InternalIP".into(), address: address.into() }];
        };
        at(&mut moved, "10.0.0.1");
        let (now, mut made) = (Timestamp::from_second(60).unwrap(), of("c", "m"));
        assert_eq!(readdressed(&made, &claim("c"), &moved, now), None, "it has the address");
        at(&mut moved, "10.0.0.9");
        let change = readdressed(&made, &claim("c"), &moved, now).expect("a change");
        assert_eq!((change.host.as_str(), change.immutable), ("10.0.0.9", false));
        assert_eq!(change.known_hosts, None, "it reported no host keys");
        let keys = bullpen_api::MachineReport { host_keys: vec!["ssh-ed25519 AAAA".into()], ..Default::default() };
        moved.status.as_mut().unwrap().reported = Some(Box::new(keys));
        let change = readdressed(&made, &claim("c"), &moved, now).expect("a change");
        assert_eq!(change.known_hosts.as_deref(), Some("10.0.0.9 ssh-ed25519 AAAA\n"));
        assert_eq!(change.annotations[ANNOTATION_HOST_CHANGED_AT], "1970-01-01T00:01:00Z");
        assert_eq!(readdressed(&made, &claim("other"), &moved, now), None, "it is another claim's");
        assert_eq!(readdressed(&of("c", "other"), &claim("c"), &moved, now), None, "it speaks of another machine");
        made.immutable = Some(true);
        let change = readdressed(&made, &claim("c"), &moved, now).expect("a change");
        assert!(change.immutable);
        made.metadata.annotations.get_or_insert_default().extend(change.annotations);
        assert_eq!(readdressed(&made, &claim("c"), &moved, now), None, "the annotation says it");
    }

    #[test]
    fn a_secret_has_the_shape_of_a_provisioned_service() {
        let made = serde_json::to_value(of("c", "m")).unwrap();
        assert_eq!((&made["type"], &made["immutable"]), (&json!("servicebinding.io/ssh"), &json!(null)));
        assert_eq!(made["metadata"]["name"], "build-1-binding");
        assert_eq!(made["metadata"]["namespace"], "team");
        assert_eq!(
            made["metadata"]["ownerReferences"],
            json!([{"apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "name": "build-1", "uid": "c", "controller": true}])
        );
        let data = of("c", "m").data.unwrap();
        let entries: Vec<_> =
            data.iter().map(|(key, value)| (key.as_str(), String::from_utf8_lossy(&value.0).into_owned())).collect();
        let expected = [
            ("host", "10.0.0.1"),
            ("instance-id", "i-1"),
            ("port", "22"),
            ("provider", "simulated"),
            ("ssh-privatekey", "PRIVATE"),
            ("type", "ssh"),
            ("username", "ci"),
        ];
        assert_eq!(entries, expected.map(|(key, value)| (key, value.to_owned())));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut bare = member("m");
        (bare.spec.ssh, bare.status) = (None, None);
        let made = secret("build-1-binding", &claim("c"), &bare, None, None);
        assert_eq!(made.data.unwrap().into_keys().collect::<Vec<_>>(), ["port", "type"]);
        let only = [InstanceAddress { type_: "ExternalDNS".into(), address: "x.example.com".into() }];
        assert_eq!(host(&only), Some("x.example.com"));
    }

    #[test]
    fn host_keys_that_the_machine_reported_are_there_for_each_of_its_addresses_and_its_name() {
        let mut known = member("m");
        let status = known.status.as_mut().unwrap();
        let host_keys = vec!["ssh-ed25519 AAAA".to_owned(), "ssh-rsa BBBB".to_owned()];
        let hostname = Some("vm.example".to_owned());
        status.reported = Some(Box::new(bullpen_api::MachineReport { hostname, host_keys, ..Default::default() }));
        let data = secret("build-1-binding", &claim("c"), &known, None, None).data.unwrap();
        let names = "192.0.2.1,10.0.0.1,vm.example";
        let expected = format!("{names} ssh-ed25519 AAAA\n{names} ssh-rsa BBBB\n");
        assert_eq!(String::from_utf8_lossy(&data["known_hosts"].0), expected);
    }

    #[test]
    fn the_limits_of_a_claim_and_of_its_pool_hold_while_its_secret_cannot_be_made() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let long = |seconds| Some(SignedDuration::from_secs(seconds));
        let mut limited = claim("c");
        limited.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(-50)));
        let none = TermRules::default();
        assert_eq!(fails_at(&limited, at(0), &none), at(600), "without any limit");
        assert_eq!(fails_at(&limited, at(0), &TermRules { max_hold: long(90), ..none }), at(90));
        assert_eq!(fails_at(&limited, at(0), &TermRules { max_hold: long(9_000), ..none }), at(600));
        limited.spec.ttl_seconds = Some(80);
        assert_eq!(fails_at(&limited, at(0), &none), at(80));
        assert_eq!(fails_at(&limited, at(0), &TermRules { max_ttl: long(70), ..none }), at(70));
        limited.spec.wait_timeout_seconds = Some(60);
        assert_eq!(fails_at(&limited, at(0), &none), at(10));
    }

    #[test]
    fn only_a_claim_that_asks_for_a_secret_has_one() {
        assert_eq!(secret_name(&claim("c")).as_deref(), Some("build-1-binding"));
        let mut plain = claim("c");
        plain.spec.binding = None;
        assert_eq!(secret_name(&plain), None);
    }

    #[test]
    fn an_existing_secret_is_ours_only_if_the_uids_of_claim_and_member_match() {
        assert_eq!(judge(&of("c", "m"), &claim("c"), "m"), Present::Ours);
        assert_eq!(
            judge(&of("c", "m"), &claim("c"), "other"),
            Present::OfAnotherMember { namespace: "pools".into(), name: "ci-m".into(), uid: "m".into() }
        );
        assert_eq!(judge(&of("old", "m"), &claim("c"), "m"), Present::OfEarlierClaim);
        assert_eq!(judge(&Secret::default(), &claim("c"), "m"), Present::Foreign);
        let mut orphaned = of("old", "m");
        orphaned.metadata.owner_references = None;
        assert_eq!(judge(&orphaned, &claim("c"), "m"), Present::Orphaned);
        let mut forged = of("c", "m");
        forged.metadata.annotations = None;
        assert_eq!(judge(&forged, &claim("c"), "m"), Present::Foreign);
        let mut adopted = of("old", "m");
        adopted.metadata.owner_references.as_mut().unwrap()[0].kind = "Deployment".into();
        assert_eq!(judge(&adopted, &claim("c"), "m"), Present::Foreign);
    }
}
