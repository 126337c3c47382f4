//! Tests with the real setup-envtest, an index on loopback, and archives of tiny scripts.

use std::{collections::BTreeMap, fmt::Write as _, os::unix::fs::symlink};

use sha2::Sha512;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::OnceCell,
};

use super::*;
use crate::control_plane::assets::envtest::{DEFAULT_INDEX, NotDownloaded, PROGRAMS, download_once};

const INDEX: &str = "/index.yaml";
const ARCHIVE: &str = "/archive.tar.gz";

/// The answer to a path: a complete one, or none while the connection is open.
#[derive(Clone)]
enum Answer {
    Body(Vec<u8>),
    Silence,
}

/// A server on loopback, on the runtime of its test.
async fn serve(listener: TcpListener, answers: BTreeMap<&'static str, Answer>) {
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(answer(connection, answers.clone()));
    }
}

async fn answer(mut connection: TcpStream, answers: BTreeMap<&'static str, Answer>) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(connection.read_u8().await?);
    }
    let request = String::from_utf8_lossy(&request);
    let (status, body) = match request.split(' ').nth(1).and_then(|path| answers.get(path)) {
        Some(Answer::Body(body)) => ("200 OK", body.as_slice()),
        Some(Answer::Silence) => return connection.read_u8().await.map(drop),
        None => ("404 Not Found", [].as_slice()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body).await
}

/// A server with an index of one archive, for this version and platform; `answers` changes the answers.
async fn index(version: &str, archive: &[u8], answers: impl FnOnce(&mut BTreeMap<&'static str, Answer>)) -> Index {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let sum = Sha512::digest(archive).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("written");
        text
    });
    let (os, arch) = go_platform();
    let yaml = format!(
        "releases:\n  {version}:\n    envtest-{version}-{os}-{arch}.tar.gz:\n      hash: {sum}\n      \
         selfLink: http://{address}{ARCHIVE}\n"
    );
    let mut said =
        BTreeMap::from([(INDEX, Answer::Body(yaml.into_bytes())), (ARCHIVE, Answer::Body(archive.to_owned()))]);
    answers(&mut said);
    tokio::spawn(serve(listener, said));
    Index::named(&format!("http://{address}{INDEX}")).expect("an index")
}

/// The platform as Go calls it.
fn go_platform() -> (&'static str, &'static str) {
    let os = if env::consts::OS == "macos" { "darwin" } else { env::consts::OS };
    let arch = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    (os, arch)
}

/// An archive as controller-tools makes them, of scripts with these names, which say that they are Kubernetes of this
/// version.
fn archive(names: &[&str], version: &str) -> Vec<u8> {
    let folder = folder();
    let programs = folder.path().join("controller-tools/envtest");
    fs::create_dir_all(&programs).expect("a folder");
    for name in names {
        write_program(&programs.join(name), &format!("#!/bin/sh\necho Kubernetes {version}\n"));
    }
    let mut tar = std::process::Command::new("tar");
    let output = tar.arg("-C").arg(folder.path()).args(["-czf", "-", "controller-tools"]).output().expect("tar");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn whole_archive() -> Vec<u8> {
    archive(&PROGRAMS.map(Program::name), KUBE.version())
}

/// An environment with a setup-envtest, which is in this machine's cache after the first time, and a `go` that counts
/// its runs.
async fn with_tool(cache: &Path, bin: &Path, index: Option<Index>) -> Environment {
    static TOOL: OnceCell<PathBuf> = OnceCell::const_new();
    let built = async || {
        let progress = crate::control_plane::Options::default().progress;
        Binaries::tool(Program::SetupEnvtest, &progress).await.expect("setup-envtest")
    };
    let tool = TOOL.get_or_init(built).await;
    let environment = Environment { index, ..environment(cache, fake_go(bin, BUILDS)) };
    let folder = environment.cached(&SETUP_ENVTEST.key()).expect("a cache");
    fs::create_dir_all(&folder).expect("a folder");
    symlink(tool, folder.join(Program::SetupEnvtest.name())).expect("linked");
    environment
}

/// The fallback: everything is built, after a line that says why, and nothing of a download is left.
async fn is_built_because(index: Index, reason: &str) {
    let (cache, bin) = (folder(), folder());
    let key = index.key();
    let environment = with_tool(cache.path(), bin.path(), Some(index)).await;
    let (progress, lines) = listener();
    let binaries = find_or_build(&environment, &progress).await.expect("built");
    assert_eq!(runs(bin.path()), 4);
    assert_eq!(binaries.api_server, environment.cached(&KUBE.key()).expect("a cache").join("kube-apiserver"));
    let lines = lines.lock().expect("unpoisoned").clone();
    let said: Vec<_> = lines.iter().filter(|line| line.contains("are not downloaded, but built")).collect();
    assert!(matches!(said[..], [line] if line.contains(reason) && !line.contains('\n')), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("downloaded")), "{lines:?}");
    // The supervisor of an abandoned setup-envtest removes the work folder a moment later.
    let began = Instant::now();
    let folder = environment.cached(&key).expect("a cache");
    let left =
        || fs::read_dir(&folder).into_iter().flatten().flatten().filter(|entry| entry.file_name() != ".envtest.lock");
    while left().next().is_some() {
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", left().collect::<Vec<_>>());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn programs_of_the_index_are_downloaded_once_and_only_the_others_are_built() {
    let (cache, bin) = (folder(), folder());
    let index = index(KUBE.version(), &whole_archive(), |_| ()).await;
    let environment = with_tool(cache.path(), bin.path(), Some(index.clone())).await;
    let (progress, lines) = listener();
    let binaries = find_or_build(&environment, &progress).await.expect("downloaded");
    let folder = environment.cached(&index.key()).expect("a cache");
    assert_eq!(
        [&binaries.etcd, &binaries.api_server, &binaries.kubectl],
        [&folder.join("etcd"), &folder.join("kube-apiserver"), &folder.join("kubectl")]
    );
    assert!(binaries.controller_manager.is_some_and(|path| is_executable(&path)));
    assert_eq!(runs(bin.path()), 1, "the controller manager alone is built");
    let said = lines.lock().expect("unpoisoned").join("\n");
    let expected =
        format!("downloaded etcd, kube-apiserver and kubectl {} from the index {}", KUBE.version(), index.address);
    assert!(said.contains(&expected), "{said}");

    let gone = Index { address: index.address.clone(), ..index };
    let again = Environment { index: Some(gone), path: OsString::new(), ..environment };
    let (progress, lines) = listener();
    let found = find_or_build(&again, &progress).await.expect("found");
    assert_eq!(found.api_server, binaries.api_server);
    assert_eq!(*lines.lock().expect("unpoisoned"), Vec::<String>::new(), "what is there needs no word");
}

#[tokio::test]
async fn without_a_required_controller_manager_nothing_is_built_and_a_message_says_what_is_missing() {
    let (cache, bin) = (folder(), folder());
    let index = index(KUBE.version(), &whole_archive(), |_| ()).await;
    let environment = with_tool(cache.path(), bin.path(), Some(index)).await;
    let (progress, lines) = listener();
    let without = MissingControllerManager::GoWithout;
    let binaries = Binaries::find_or_build_with(&environment, without, &progress).await.expect("downloaded");
    assert_eq!((binaries.controller_manager, runs(bin.path())), (None, 0));
    let said = lines.lock().expect("unpoisoned").join("\n");
    assert!(said.contains("without owner-reference garbage collection"), "{said}");

    let built = build_once(Source::of(Program::ControllerManager), &environment, &progress).await.expect("built");
    let binaries = Binaries::find_or_build_with(&environment, without, &progress).await.expect("found");
    assert_eq!(binaries.controller_manager, Some(built), "one that was built before is taken");
}

#[tokio::test]
async fn of_two_concurrent_callers_one_downloads_and_both_get_the_programs() {
    let (cache, bin) = (folder(), folder());
    let index = index(KUBE.version(), &whole_archive(), |_| ()).await;
    let environment = with_tool(cache.path(), bin.path(), Some(index)).await;
    let (progress, lines) = listener();
    let (one, other) = tokio::join!(download_once(&environment, &progress), download_once(&environment, &progress));
    assert_eq!(one.expect("downloaded"), other.expect("waited for"));
    let lines = lines.lock().expect("unpoisoned");
    assert_eq!(lines.iter().filter(|line| line.starts_with("downloaded")).count(), 1, "{lines:?}");
}

#[tokio::test]
async fn programs_that_were_built_before_are_used_and_nothing_is_downloaded() {
    let (cache, bin) = (folder(), folder());
    let built = environment(cache.path(), fake_go(bin.path(), BUILDS));
    let binaries = find_or_build(&built, &listener().0).await.expect("built");
    let index = index(KUBE.version(), &whole_archive(), |_| ()).await;
    let environment = with_tool(cache.path(), bin.path(), Some(index)).await;
    let (progress, lines) = listener();
    let found = find_or_build(&environment, &progress).await.expect("found");
    assert_eq!(found.api_server, binaries.api_server);
    assert_eq!(*lines.lock().expect("unpoisoned"), Vec::<String>::new());
}

#[tokio::test]
async fn an_archive_with_another_checksum_is_refused() {
    let other = archive(&PROGRAMS.map(Program::name), "of somebody else");
    let index = index(KUBE.version(), &whole_archive(), |answers| {
        answers.insert(ARCHIVE, Answer::Body(other));
    })
    .await;
    is_built_because(index, "checksum mismatch").await;
}

#[tokio::test]
async fn no_similar_version_is_downloaded_instead_of_the_pinned_one() {
    let (minor, patch) = KUBE.version().rsplit_once('.').expect("a patch");
    let next = format!("{minor}.{}", patch.parse::<u32>().expect("a number") + 1);
    let index = index(&next, &archive(&PROGRAMS.map(Program::name), &next), |_| ()).await;
    is_built_because(index, &format!("has no {}", KUBE.version())).await;
}

#[tokio::test]
async fn an_archive_with_another_version_than_in_its_name_is_refused() {
    let index = index(KUBE.version(), &archive(&PROGRAMS.map(Program::name), "v1.2.3"), |_| ()).await;
    is_built_because(index, "another kube-apiserver, which says of itself: Kubernetes v1.2.3").await;
}

#[tokio::test]
async fn an_archive_without_one_of_the_programs_is_refused() {
    let index = index(KUBE.version(), &archive(&["etcd", "kube-apiserver"], KUBE.version()), |_| ()).await;
    is_built_because(index, "has no executable kubectl").await;
}

#[tokio::test]
async fn a_missing_index_is_a_reason_to_build() {
    let index = index(KUBE.version(), &[], BTreeMap::clear).await;
    is_built_because(index, "404 Not Found").await;
}

#[tokio::test]
async fn a_refused_connection_is_a_reason_to_build_at_once() {
    // Nobody else can have the port while it is bound, and nobody listens on it.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = socket.local_addr().expect("an address");
    let began = Instant::now();
    is_built_because(Index::named(&format!("http://{address}/")).expect("an index"), "connection refused").await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_index_that_never_answers_times_out() {
    let index = index(KUBE.version(), &[], |answers| {
        answers.insert(INDEX, Answer::Silence);
    })
    .await;
    assert_eq!(index.answers_within, Duration::from_secs(10));
    let impatient = Index { answers_within: Duration::from_secs(1), ..index };
    is_built_because(impatient, "did not answer within 1 s").await;
}

#[tokio::test]
async fn an_archive_that_never_arrives_times_out() {
    let index = index(KUBE.version(), &whole_archive(), |answers| {
        answers.insert(ARCHIVE, Answer::Silence);
    })
    .await;
    let impatient = Index { all_within: Duration::from_secs(2), ..index };
    is_built_because(impatient, "the download was not finished within 2 s").await;
}

#[tokio::test]
async fn a_setup_envtest_that_cannot_be_built_is_a_reason_to_build_the_rest() {
    let (cache, bin) = (folder(), folder());
    let fails = "case \"$*\" in *setup-envtest*) echo 'no proxy' >&2; exit 1;; esac\n";
    let environment = Environment {
        index: Index::named("http://127.0.0.1:1/"),
        ..environment(cache.path(), fake_go(bin.path(), &format!("{fails}{BUILDS}")))
    };
    let (progress, lines) = listener();
    find_or_build(&environment, &progress).await.expect("built");
    let lines = lines.lock().expect("unpoisoned");
    let told = |line: &String| line.contains("setup-envtest can't be had") && line.contains("no proxy");
    assert!(lines.iter().any(|line| told(line) && !line.contains('\n')), "{lines:?}");
}

#[tokio::test]
async fn an_index_called_none_disables_downloads_and_is_logged() {
    assert!(Index::named("none").is_none());
    let (cache, bin) = (folder(), folder());
    let environment = environment(cache.path(), fake_go(bin.path(), BUILDS));
    assert!(matches!(download_once(&environment, &listener().0).await, Err(NotDownloaded::Unwanted)));
    let (progress, lines) = listener();
    find_or_build(&environment, &progress).await.expect("built");
    let said = lines.lock().expect("unpoisoned").join("\n");
    assert!(said.contains("built from their Go modules: BULLPEN_ENVTEST_INDEX is none"), "{said}");
}

#[tokio::test]
async fn without_go_no_download_is_tried_and_nothing_is_made() {
    let cache = folder();
    let environment = Environment { index: Index::named("http://127.0.0.1:1/"), ..environment(cache.path(), "") };
    let (progress, lines) = listener();
    let error = find_or_build(&environment, &progress).await.expect_err("no go");
    assert!(matches!(error, ControlPlaneError::NoBinaries { .. }), "{error}");
    assert_eq!(*lines.lock().expect("unpoisoned"), Vec::<String>::new());
    assert!(cache.path().read_dir().expect("the cache").next().is_none());
}

#[test]
fn another_index_is_another_folder_and_credentials_are_not_shown() {
    let index = |address| Index::named(address).expect("an index");
    assert_eq!(index("").address, DEFAULT_INDEX);
    assert_ne!(index("").key(), index("https://mirror/").key());
    let reason = NotDownloaded::NotInIndex { index: index("https://user:secret@mirror/index").shown() };
    let said = reason.to_string();
    assert!(said.contains("https://mirror/index") && !said.contains("secret") && !said.contains("user"), "{said}");
}

#[tokio::test]
async fn the_index_is_the_default_of_setup_envtest() {
    let (cache, bin) = (folder(), folder());
    let environment = with_tool(cache.path(), bin.path(), None).await;
    let tool = environment.cached(&SETUP_ENVTEST.key()).expect("a cache").join("setup-envtest");
    let help = std::process::Command::new(tool).arg("--help").output().expect("its help");
    let help = String::from_utf8_lossy(&help.stderr).into_owned();
    assert!(help.contains(&format!("(default \"{DEFAULT_INDEX}\")")), "{help}");
}
