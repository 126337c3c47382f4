//! Wrong values are refused in words that name the value and say what is wrong with it, or what to do.

use crate::rendering::Wanted;

/// Values, and what the refusal has to say.
const REFUSED: &[(&str, &[&str])] = &[
    // By the schema.
    ("replica: 3", &["replica", "not allowed"]),
    ("image: {name: x}", &["/image", "name", "not allowed"]),
    ("simcloud: {examplePool: {size: 3}}", &["/simcloud/examplePool", "size", "not allowed"]),
    ("replicas: two", &["/replicas", "got string, want integer"]),
    ("replicas: -1", &["/replicas", "minimum"]),
    ("scope: {mode: Everything}", &["/scope/mode", "'Cluster', 'Namespaces', 'ReleaseNamespace'"]),
    ("scope: {mode: Namespaces, namespaces: team-a}", &["/scope/namespaces", "want array"]),
    ("scope: {mode: Namespaces, namespaces: [Team_A]}", &["/scope/namespaces/0", "pattern"]),
    ("scope: {mode: Namespaces, namespaces: [a, a]}", &["/scope/namespaces", "equal"]),
    ("image: {pullPolicy: Sometimes}", &["/image/pullPolicy", "'Always', 'IfNotPresent', 'Never'"]),
    ("image: {digest: latest}", &["/image/digest", "sha256"]),
    ("image: {tag: 'a b'}", &["/image/tag", "pattern"]),
    ("installation: {id: My_Id}", &["/installation/id", "[a-z0-9-]"]),
    ("log: {format: xml}", &["/log/format", "'text', 'json'"]),
    ("sweepGraceSeconds: 0", &["/sweepGraceSeconds", "minimum: got 0, want 1"]),
    ("expiryGraceSeconds: 90000", &["/expiryGraceSeconds", "maximum"]),
    ("sweepDryRun: 'yes'", &["/sweepDryRun", "want boolean"]),
    ("simulatedEndpoints: ['https://sim']", &["/simulatedEndpoints/0", "pattern"]),
    ("metrics: {port: 80}", &["/metrics/port", "1,024"]),
    ("machines: {url: 'bullpen:80'}", &["/machines/url", "pattern"]),
    ("machines: {url: 'https://a/$x'}", &["/machines/url", "pattern"]),
    ("machines: {enabled: true}", &["machines.url: must be set", "such as https://"]),
    ("machines: {enabled: true, url: 'http://a', port: 8080}", &["machines.port: is also metrics.port"]),
    ("terminationGracePeriodSeconds: 5", &["/terminationGracePeriodSeconds", "want 21"]),
    ("resources: {limits: {memory: lots}}", &["/resources/limits/memory"]),
    ("networkPolicy: {metricsFrom: [{pods: {}}]}", &["/networkPolicy/metricsFrom/0", "pods"]),
    ("extraEnv: [{value: x}]", &["/extraEnv/0", "name"]),
    ("commonLabels: {a: 1}", &["/commonLabels/a", "want string"]),
    ("admissionPolicies: {raiseMaxSize: {freeUpTo: -1}}", &["/admissionPolicies/raiseMaxSize/freeUpTo", "minimum"]),
    // By templates, because several values are at odds.
    ("scope: {mode: Namespaces}", &["scope.namespaces: must name at least one namespace", "set scope.mode=Cluster"]),
    (
        "scope: {namespaces: [team-a]}",
        &["scope.namespaces: has no meaning in mode Cluster", "set scope.mode=Namespaces"],
    ),
    ("scope: {mode: ReleaseNamespace}", &["installation.id: must be set in mode ReleaseNamespace"]),
    (
        "{scope: {mode: Namespaces, namespaces: [a]}, secrets: {clusterWide: true}}",
        &["secrets.clusterWide: can't be true in mode Namespaces", "secrets.namespaces"],
    ),
    (
        "secrets: {clusterWide: true, namespaces: [a]}",
        &["secrets.namespaces: has no meaning while secrets.clusterWide"],
    ),
    (
        "{scope: {mode: Namespaces, namespaces: [a]}, secrets: {namespaces: [b]}}",
        &["secrets.namespaces: b is not served by this release (it serves a)", "add it to scope.namespaces"],
    ),
    (
        "commonLabels: {app.kubernetes.io/instance: x}",
        &["commonLabels: app.kubernetes.io/instance is set by the chart"],
    ),
    ("podLabels: {helm.sh/chart: x}", &["podLabels: helm.sh/chart is set by the chart", "take another name"]),
    ("extraEnv: [{name: RUST_LOG, value: x}]", &["extraEnv: RUST_LOG is set by the chart; set log.level instead"]),
    ("extraEnv: [{name: A, value: one}, {name: A, value: two}]", &["extraEnv: A is there twice"]),
    ("topologySpread: {minNodes: 3}", &["topologySpread.minNodes: has no meaning unless", "DoNotSchedule"]),
    ("serviceAccount: {create: false}", &["serviceAccount.name: must be set"]),
    ("metrics: {service: {enabled: false}}", &["serviceMonitor.enabled: needs the Service"]),
    ("podMonitor: {enabled: true}", &["podMonitor.enabled: pods would be scraped twice"]),
    ("podDisruptionBudget: {maxUnavailable: 0}", &["podDisruptionBudget.maxUnavailable: 0 would keep nodes"]),
    ("podDisruptionBudget: {maxUnavailable: 0%}", &["podDisruptionBudget.maxUnavailable: 0 would keep nodes"]),
    ("simcloud: {examplePool: {enabled: true}}", &["simcloud.examplePool.enabled:", "set simcloud.enabled=true"]),
    (
        "simcloud: {enabled: true, examplePool: {enabled: true, targetSize: 11}}",
        &["simcloud.examplePool.targetSize: 11 is above simcloud.examplePool.maxSize (10)"],
    ),
    (
        "{scope: {mode: Namespaces, namespaces: [a]}, simcloud: {enabled: true, examplePool: {enabled: true}}}",
        &["simcloud.examplePool.namespace: bullpen is not served", "set it to one of a"],
    ),
];

#[tokio::test]
async fn wrong_values_are_refused_by_name_and_with_what_is_wrong() {
    for (values, expected) in REFUSED {
        let refusal = Wanted::of(values).template().await.refusal();
        for words in *expected {
            assert!(refusal.contains(words), "{values}: {words:?} is not in\n{refusal}");
        }
    }
}
