//! What a namespace's own users may do, by the roles that every cluster has.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::ground::{Ground, eventually};
use crate::rendering::{Objects, Wanted, key};

/// Verbs on a resource (with its subresource), and whether view, edit and admin have them.
const TABLE: &[(&[&str], &[&str], [bool; 3])] = &[
    (&["get", "list", "watch"], &["instancepools", "launchconfigs", "poolclaims", "poolmembers"], [true, true, true]),
    (&["create", "update", "patch", "delete"], &["poolclaims"], [false, true, true]),
    // A pool can send any Secret of its namespace to a machine.
    (&["create", "update", "patch", "delete"], &["instancepools", "launchconfigs"], [false, false, true]),
    (&["update", "patch"], &["instancepools/scale"], [false, false, true]),
    // To set a member aside.
    (&["patch"], &["poolmembers"], [false, false, true]),
    (&["create", "update", "delete"], &["poolmembers"], [false, false, false]),
    (
        &["update", "patch"],
        &["instancepools/status", "launchconfigs/status", "poolclaims/status", "poolmembers/status"],
        [false, false, false],
    ),
    // What the policy on maxSize asks for is nobody's by these roles.
    (&["raise-max-size"], &["instancepools"], [false, false, false]),
];

async fn may(ground: &Ground, user: &str, namespace: &str, verb: &str, resource: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                group: Some("bullpen.dev".to_owned()),
                resource: Some(resource.to_owned()),
                subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(ground.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
    answer.status.is_some_and(|status| status.allowed)
}

#[tokio::test]
async fn the_built_in_roles_take_in_what_a_namespaces_users_may_do() {
    let ground = Ground::begin().await;
    let namespace = ground.namespace("team").await;
    let roles = ["view", "edit", "admin"];
    let mut given: Objects = Wanted::default().objects().await;
    given.retain(|key, _| key.starts_with("ClusterRole bullpen-"));
    given.retain(|key, _| roles.iter().any(|role| key.ends_with(role)));
    assert_eq!(given.len(), 3);
    for role in roles {
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
            "metadata": { "name": role, "namespace": namespace },
            "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": group, "kind": "User", "name": role }],
        });
        given.insert(key(&binding), binding);
    }
    ground.apply(&given).await;
    for (verbs, resources, expected) in TABLE {
        for (role, expected) in roles.iter().zip(expected) {
            for resource in *resources {
                for verb in *verbs {
                    eventually(&format!("{role} {verb} {resource}: {expected}"), async || {
                        let answer = may(&ground, role, &namespace, verb, resource).await;
                        if answer == *expected { Ok(()) } else { Err(answer.to_string()) }
                    })
                    .await;
                }
            }
        }
    }
    assert!(!may(&ground, "admin", "team-a", "get", "instancepools").await, "only in their namespace");
}
