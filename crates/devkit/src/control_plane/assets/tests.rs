mod envtest;

use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;

/// A fake `go` that counts its runs in the file `runs` beside it, and then runs the given script.
fn fake_go(folder: &Path, then: &str) -> OsString {
    let script = format!(
        "#!/bin/sh\necho run >>'{}'\nwhile [ \"$1\" != -o ]; do shift; done\n{then}\n",
        folder.join("runs").display()
    );
    write_program(&folder.join("go"), &script);
    let system = env::var_os("PATH").unwrap_or_default();
    env::join_paths([folder.to_owned()].into_iter().chain(env::split_paths(&system))).expect("a PATH")
}

const BUILDS: &str = "sleep 0.3; echo '#!/bin/sh' >\"$2\"; chmod +x \"$2\"";

/// Written by another process: a file that is open for writing here while another test forks
/// can't be run ("text file busy").
fn write_program(path: &Path, text: &str) {
    let script = "printf %s \"$2\" >\"$1\" && chmod +x \"$1\"";
    let status = std::process::Command::new("/bin/sh").args(["-c", script, "sh"]).arg(path).arg(text).status();
    assert!(status.expect("a shell").success());
}

fn runs(folder: &Path) -> usize {
    fs::read_to_string(folder.join("runs")).map_or(0, |text| text.lines().count())
}

fn listener() -> (Progress, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = lines.clone();
    (Arc::new(move |line: &str| heard.lock().expect("unpoisoned").push(line.to_owned())), lines)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn environment(cache: &Path, path: impl Into<OsString>) -> Environment {
    Environment { assets: None, cache_home: Some(cache.to_owned()), path: path.into(), index: None }
}

async fn find_or_build(environment: &Environment, progress: &Progress) -> Result<Binaries, ControlPlaneError> {
    Binaries::find_or_build_with(environment, MissingControllerManager::Build, progress).await
}

/// The files in the cache below the module's folder, without locks.
fn cached(cache: &Path, module: &Module) -> Vec<String> {
    let entries = fs::read_dir(cache.join("bullpen/control-plane").join(module.key())).expect("the module's folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| Path::new(name).extension().is_none_or(|extension| extension != "lock")).collect()
}

#[test]
fn versions_come_from_the_pins() {
    let version = KUBE.version();
    assert!(version.starts_with("v1."), "{version}");
    assert!(ETCD.version().starts_with("v3."), "{}", ETCD.version());
    assert!(KUBE.go_version().starts_with("1."), "{}", KUBE.go_version());
    assert!(KUBE.linker_flags().contains(&format!("gitVersion={version}")));
    assert!(KUBE.key().starts_with(&format!("kube-{version}-")));
    let helm = HELM.version();
    assert!(helm.starts_with("v4."), "{helm}");
    assert!(HELM.linker_flags().ends_with(&format!("version.version={helm}")), "{}", HELM.linker_flags());
    assert!(HELM_UNITTEST.version().starts_with("v1."), "{}", HELM_UNITTEST.version());
}

#[test]
fn every_staging_module_has_the_version_of_kubernetes() {
    let expected = KUBE.version().replacen("v1.", "v0.", 1);
    let replaced: Vec<_> = KUBE.go_mod.lines().filter_map(|line| line.split_once(" => ")).collect();
    assert!(replaced.len() > 30, "{}", replaced.len());
    assert!(replaced.iter().all(|(_, by)| by.ends_with(&expected)), "{replaced:?}");
}

#[tokio::test]
async fn a_program_of_our_own_is_built_from_the_source_in_this_binary() {
    let (cache, bin) = (folder(), folder());
    let copies = "{ echo '#!/bin/sh'; sed 's/^/# /' main.go; } >\"$2\"; chmod +x \"$2\"";
    let environment = environment(cache.path(), fake_go(bin.path(), copies));
    let built = build_once(Source::of(Program::ObjectHealth), &environment, &listener().0).await.expect("built");
    let text = fs::read_to_string(built).expect("what go saw");
    let source = OBJECT_HEALTH.main_go.expect("it is ours");
    assert!(source.lines().all(|line| text.contains(line)), "{text}");
    let changed = Module { main_go: Some("package main"), ..OBJECT_HEALTH };
    assert_ne!(changed.key(), OBJECT_HEALTH.key(), "another source is another program");
}

#[tokio::test]
async fn of_two_concurrent_callers_one_builds_and_both_get_the_program() {
    let (cache, bin) = (folder(), folder());
    let environment = environment(cache.path(), fake_go(bin.path(), BUILDS));
    let (progress, lines) = listener();
    let (one, other) = tokio::join!(
        build_once(Source::of(Program::ApiServer), &environment, &progress),
        build_once(Source::of(Program::ApiServer), &environment, &progress),
    );
    assert_eq!(one.expect("built"), other.expect("waited for"));
    assert_eq!(runs(bin.path()), 1);
    assert_eq!(cached(cache.path(), &KUBE), ["kube-apiserver"]);
    let lines = lines.lock().expect("unpoisoned").join("\n");
    assert!(lines.contains("building kube-apiserver v1.") && lines.contains("about 3 minutes"), "{lines}");
    assert!(lines.contains("waiting for it") && lines.contains("built kube-apiserver in"), "{lines}");
}

#[tokio::test]
async fn what_is_in_the_cache_needs_no_go() {
    let (cache, bin) = (folder(), folder());
    let (progress, _) = listener();
    let with_go = environment(cache.path(), fake_go(bin.path(), BUILDS));
    find_or_build(&with_go, &progress).await.expect("built");
    find_or_build(&environment(cache.path(), ""), &progress).await.expect("found");
    assert_eq!(runs(bin.path()), 4);
}

#[tokio::test]
async fn a_failed_build_shows_the_output_of_go_and_leaves_no_files() {
    let (cache, bin) = (folder(), folder());
    let environment = environment(cache.path(), fake_go(bin.path(), "echo 'checksum mismatch' >&2; exit 1"));
    let error = build_once(Source::of(Program::Etcd), &environment, &listener().0).await.expect_err("it fails");
    assert!(matches!(error, ControlPlaneError::Build { program: Program::Etcd, .. }));
    assert!(error.to_string().contains("checksum mismatch"), "{error}");
    assert_eq!(cached(cache.path(), &ETCD), Vec::<String>::new());
}

#[tokio::test]
async fn an_abandoned_build_ends_go_and_leaves_no_files() {
    let (cache, bin) = (folder(), folder());
    let environment = environment(cache.path(), fake_go(bin.path(), "echo $$ >go.pid; exec sleep 600"));
    let wait_for_go = async {
        let module = cache.path().join("bullpen/control-plane").join(ETCD.key());
        loop {
            let mut works = fs::read_dir(&module).into_iter().flatten().flatten();
            let id = works.find_map(|entry| fs::read_to_string(entry.path().join("go.pid")).ok());
            if let Some(id) = id.and_then(|text| text.strip_suffix('\n').map(str::to_owned)) {
                return id;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let progress = listener().0;
    let id = tokio::select! {
        _ = build_once(Source::of(Program::Etcd), &environment, &progress) => panic!("it is not built yet"),
        id = wait_for_go => id,
    };
    let began = Instant::now();
    let runs = || std::process::Command::new("kill").args(["-0", &id]).output().is_ok_and(|out| out.status.success());
    while runs() || !cached(cache.path(), &ETCD).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10), "go {id} still runs, or its folder is there");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn without_go_and_binaries_the_error_names_three_solutions() {
    let cache = folder();
    let error = find_or_build(&environment(cache.path(), ""), &listener().0).await.expect_err("no go");
    let text = error.to_string();
    for way in [&format!("install Go {}", KUBE.go_version()), "KUBEBUILDER_ASSETS", "bullpen-demo --kubeconfig"] {
        assert!(text.contains(way), "{text}");
    }
    assert!(cache.path().read_dir().expect("the cache").next().is_none(), "nothing is made for nothing");
}

#[tokio::test]
async fn the_error_for_a_tool_without_go_does_not_suggest_ready_made_control_planes() {
    let cache = folder();
    let built = build_once(Source::of(Program::Helm), &environment(cache.path(), ""), &listener().0).await;
    let text = built.expect_err("no go").to_string();
    assert!(text.contains("there is no helm") && text.contains(&format!("install Go {}", HELM.go_version())), "{text}");
    assert!(!text.contains("KUBEBUILDER_ASSETS"), "{text}");
}

#[tokio::test]
async fn an_assets_folder_without_the_programs_is_an_error_that_names_them() {
    let (cache, assets) = (folder(), folder());
    write_program(&assets.path().join("etcd"), "#!/bin/sh\n");
    fs::write(assets.path().join("kubectl"), "not executable").expect("written");
    fs::create_dir(assets.path().join("kube-apiserver")).expect("a folder in its place");
    let environment = Environment { assets: Some(assets.path().to_owned()), ..environment(cache.path(), "") };
    let error = find_or_build(&environment, &listener().0).await.expect_err("garbage");
    let ControlPlaneError::AssetsIncomplete { missing, .. } = &error else { panic!("{error}") };
    assert_eq!(missing, &["kube-apiserver", "kubectl"]);
    assert!(error.to_string().contains(&assets.path().display().to_string()), "{error}");
}

#[tokio::test]
async fn assets_without_a_controller_manager_are_enough_and_a_message_says_what_is_missing() {
    let (cache, assets) = (folder(), folder());
    for name in ["etcd", "kube-apiserver", "kubectl"] {
        write_program(&assets.path().join(name), "#!/bin/sh\n");
    }
    let environment = Environment { assets: Some(assets.path().to_owned()), ..environment(cache.path(), "") };
    let (progress, lines) = listener();
    let binaries = find_or_build(&environment, &progress).await.expect("enough");
    assert_eq!(binaries.controller_manager, None);
    assert_eq!(binaries.etcd, assets.path().join("etcd"));
    let lines = lines.lock().expect("unpoisoned").join("\n");
    assert!(lines.contains("without owner-reference garbage collection"), "{lines}");
}
