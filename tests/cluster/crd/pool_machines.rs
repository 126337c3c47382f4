//! What a pool may say of its machines: the launch configs that it names, and its template.

use serde_json::json;

use super::pool::pool;
use super::sandbox::{Case, Sandbox, assert_each_refused, assert_refused, with};

#[tokio::test]
async fn a_bad_list_of_launch_configs_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let cases: &[Case] = &[
        ("no launch config", "/spec/launchConfigs", json!([]), &["spec.launchConfigs", "at least 1 items"]),
        (
            "a launch config twice",
            "/spec/launchConfigs",
            json!([{"name": "small"}, {"name": "large"}, {"name": "small", "weight": 1}]),
            &["spec.launchConfigs[2]", "Duplicate value", "small"],
        ),
        (
            "a launch config without name",
            "/spec/launchConfigs",
            json!([{}]),
            &["spec.launchConfigs[0].name", "Required"],
        ),
        (
            "a launch config with an empty name",
            "/spec/launchConfigs/0/name",
            json!(""),
            &["spec.launchConfigs[0].name", "at least 1 chars long"],
        ),
        (
            "a launch config with a long name",
            "/spec/launchConfigs/0/name",
            json!("x".repeat(49)),
            &["spec.launchConfigs[0].name", "may not be more than 48"],
        ),
        (
            "too many launch configs",
            "/spec/launchConfigs",
            (0..33).map(|number| json!({"name": format!("lc-{number}")})).collect(),
            &["spec.launchConfigs", "must have at most 32 items"],
        ),
        ("weight 101", "/spec/launchConfigs/1/weight", json!(101), &["spec.launchConfigs[1].weight", "equal to 100"]),
        ("weight -1", "/spec/launchConfigs/1/weight", json!(-1), &["spec.launchConfigs[1].weight", "equal to 0"]),
        (
            "maxInstances negative",
            "/spec/launchConfigs/0/maxInstances",
            json!(-1),
            &["spec.launchConfigs[0].maxInstances", "equal to 0"],
        ),
    ];
    assert_each_refused(&sandbox, &pool(), cases).await;
}

#[tokio::test]
async fn a_bad_template_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let cases: &[Case] = &[
        (
            "a label key with a space",
            "/spec/template/labels",
            json!({"my team": "ci"}),
            &["spec.template.labels", "must be a label key"],
        ),
        (
            "a label key of 64 characters",
            "/spec/template/labels",
            json!({"k".repeat(64): "ci"}),
            &["spec.template.labels", "must be a label key"],
        ),
        (
            "a label of the operator",
            "/spec/template/labels",
            json!({"bullpen.dev/pool": "other"}),
            &["spec.template.labels", "belong to the operator"],
        ),
        (
            "a label value with a space",
            "/spec/template/labels/team",
            json!("my team"),
            &["spec.template.labels.team", "should match"],
        ),
        (
            "a label value of 64 characters",
            "/spec/template/labels/team",
            json!("x".repeat(64)),
            &["spec.template.labels.team", "may not be more than 63"],
        ),
        ("an empty tag key", "/spec/template/tags", json!({"": "x"}), &["spec.template.tags", "1 to 128 characters"]),
        (
            "a tag of the operator",
            "/spec/template/tags",
            json!({"bullpen.dev/member": "x"}),
            &["spec.template.tags", "belong to the operator"],
        ),
        (
            "a tag value of 257 characters",
            "/spec/template/tags/cost-center",
            json!("x".repeat(257)),
            &["spec.template.tags.cost-center", "may not be more than 256"],
        ),
        (
            "too many tags",
            "/spec/template/tags",
            (0..33).map(|number| (format!("tag-{number}"), json!(""))).collect::<serde_json::Map<_, _>>().into(),
            &["spec.template.tags", "at most 32"],
        ),
        (
            "userData too long",
            "/spec/template/userData",
            json!("x".repeat(16_385)),
            &["spec.template.userData", "may not be more than 16384"],
        ),
        (
            "userData of few characters and too many bytes",
            "/spec/template/userData",
            json!("é".repeat(8_193)),
            &["spec.template.userData", "at most 16384 bytes"],
        ),
    ];
    assert_each_refused(&sandbox, &pool(), cases).await;
}

#[tokio::test]
async fn the_longest_user_data_is_accepted() {
    let sandbox = Sandbox::new().await;
    for user_data in ["#".repeat(16_384), "é".repeat(8_192)] {
        sandbox.created(&with(&pool(), "/spec/template/userData", json!(user_data))).await;
    }
}

#[tokio::test]
async fn how_one_logs_in_has_defaults_and_a_plausible_user() {
    let sandbox = Sandbox::new().await;
    let pool = with(&pool(), "/spec/template/ssh", json!({}));
    let created = sandbox.created(&pool).await;
    assert_eq!(created["spec"]["template"]["ssh"], json!({"user": "bullpen", "generateKey": false}));
    for user in ["root", "_apt", "ci-1_x", &"u".repeat(32)] {
        sandbox.created(&with(&pool, "/spec/template/ssh/user", json!(user))).await;
    }
    for user in ["", "-x", "1x", "Ann", "a b", "a:b", "a\n", "é"] {
        let answer = sandbox.create(&with(&pool, "/spec/template/ssh/user", json!(user))).await;
        assert_refused(user, answer, &["spec.template.ssh.user"]);
    }
    let keyed = with(&pool, "/spec/template/ssh/generateKey", json!(true));
    sandbox.created(&with(&keyed, "/spec/template/userData", json!("x".repeat(15_360)))).await;
    let long = sandbox.create(&with(&keyed, "/spec/template/userData", json!("x".repeat(15_361)))).await;
    assert_refused("too long beside a key", long, &["spec.template.userData", "at most 15360 bytes"]);
}

/// What a pool's template may have as a label, its members may have: else they could never be written.
#[tokio::test]
async fn a_label_is_accepted_in_a_template_exactly_when_it_is_on_an_object() {
    let sandbox = Sandbox::new().await;
    let (long_name, longer_name) = ("k".repeat(63), "k".repeat(64));
    let long_value = "V".repeat(63);
    let cases: [(&str, &str); 32] = [
        ("team", "ci"),
        ("team", ""),
        ("a", "a"),
        ("A.b_c-1", "Runner_1.2"),
        ("example.com/team", "ci"),
        ("app.kubernetes.io/name", "runner"),
        ("a/b", "x"),
        ("0.1/2", "3"),
        (&long_name, &long_value),
        (&longer_name, "x"),
        ("", "x"),
        ("/", "x"),
        ("/team", "x"),
        ("example.com/", "x"),
        ("example.com/a/b", "x"),
        ("Example.com/team", "x"),
        ("example..com/team", "x"),
        (".example/team", "x"),
        ("example./team", "x"),
        ("-example/team", "x"),
        ("example-.com/team", "x"),
        ("exam_ple/team", "x"),
        ("-team", "x"),
        ("team-", "x"),
        ("my team", "x"),
        ("équipe", "x"),
        ("team\n", "x"),
        ("team", "-x"),
        ("team", "x."),
        ("team", "a/b"),
        ("team", "é"),
        ("team", "x\n"),
    ];
    let mut accepted = 0;
    for (key, value) in cases {
        let labels = json!({ key: value });
        let mut labelled = pool();
        labelled["metadata"]["labels"] = labels.clone();
        let on_an_object = sandbox.create(&labelled).await.is_ok();
        let in_a_template = sandbox.create(&with(&pool(), "/spec/template/labels", labels)).await;
        assert_eq!(in_a_template.is_ok(), on_an_object, "{key:?}: {value:?}: {in_a_template:?}");
        accepted += usize::from(on_an_object);
    }
    assert_eq!(accepted, 9);
}

#[tokio::test]
async fn a_bad_readiness_is_refused_with_a_message_that_names_the_field() {
    let sandbox = Sandbox::new().await;
    let kinds = [
        json!({}),
        json!({"provider": {}}),
        json!({"tcpSocket": {"port": 22}}),
        json!({"httpGet": {"port": 8080}}),
        json!({"phoneHome": {}}),
        json!({"httpGet": {"port": 443, "path": "/up?full=1", "scheme": "HTTPS", "expectedStatus": 401}}),
    ];
    for kind in kinds {
        sandbox.created(&with(&pool(), "/spec/readiness", kind)).await;
    }
    let filled = sandbox.created(&with(&pool(), "/spec/readiness", json!({"httpGet": {"port": 80}}))).await;
    assert_eq!(filled["spec"]["readiness"]["httpGet"], json!({"port": 80, "path": "/", "scheme": "HTTP"}));
    let get = |field: &str, value| {
        let mut get = json!({"httpGet": {"port": 80}});
        get["httpGet"][field] = value;
        get
    };
    let cases: &[Case] = &[
        (
            "two kinds",
            "/spec/readiness",
            json!({"tcpSocket": {"port": 22}, "httpGet": {"port": 80}}),
            &[
                "spec.readiness",
                "at most one of readiness.provider, readiness.tcpSocket, readiness.httpGet and readiness.",
            ],
        ),
        (
            "a call and a probe",
            "/spec/readiness",
            json!({"tcpSocket": {"port": 22}, "phoneHome": {}}),
            &["at most one of"],
        ),
        (
            "a kind beside the default",
            "/spec/readiness",
            json!({"provider": {}, "tcpSocket": {"port": 22}}),
            &["at most one of"],
        ),
        ("no port", "/spec/readiness", json!({"tcpSocket": {}}), &["spec.readiness.tcpSocket.port", "Required"]),
        ("port 0", "/spec/readiness", json!({"tcpSocket": {"port": 0}}), &["tcpSocket.port", "equal to 1"]),
        ("port 65536", "/spec/readiness", get("port", json!(65_536)), &["httpGet.port", "equal to 65535"]),
        (
            "a relative path",
            "/spec/readiness",
            get("path", json!("up")),
            &["spec.readiness.httpGet.path", "should match"],
        ),
        (
            "a path with a line end",
            "/spec/readiness",
            get("path", json!("/a\r\nx: y")),
            &["httpGet.path", "should match"],
        ),
        ("a path with a fragment", "/spec/readiness", get("path", json!("/a#b")), &["httpGet.path", "should match"]),
        ("another scheme", "/spec/readiness", get("scheme", json!("ftp")), &["httpGet.scheme", "\"HTTP\", \"HTTPS\""]),
        (
            "a status of no answer",
            "/spec/readiness",
            get("expectedStatus", json!(100)),
            &["expectedStatus", "equal to 200"],
        ),
        ("a mistyped field", "/spec/readiness", json!({"tcp": {"port": 22}}), &["unknown field", "spec.readiness.tcp"]),
    ];
    assert_each_refused(&sandbox, &pool(), cases).await;
}
