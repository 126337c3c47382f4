//! One control plane for all tests of this process.

use std::{io::Write as _, sync::OnceLock, thread};

use bullpen_devkit::control_plane::{ControlPlane, ControlPlaneError, Options};
use tokio::runtime::Builder;

use crate::harness::{AUDIT_LOG, audit_policy};

/// The control plane that the tests of this process share; each test has its own namespace. The first caller starts it;
/// it ends with the process.
///
/// It lives on a runtime of its own, because each `#[tokio::test]` ends its runtime. Make a client
/// in each test: connections belong to a runtime too.
pub(crate) fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceLock<ControlPlane> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (tell, started) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let outcome = runtime.block_on(start());
            tell.send(outcome).expect("somebody waits for the control plane");
            runtime.block_on(std::future::pending::<()>());
        });
        let outcome = started.recv().expect("the thread of the control plane lives");
        outcome.unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Starts it with an audit log, from which walks count what operators write.
async fn start() -> Result<ControlPlane, ControlPlaneError> {
    let mut policy = tempfile::NamedTempFile::new().expect("a file for the audit policy");
    policy.write_all(audit_policy().as_bytes()).expect("written");
    let mut options = Options::default();
    options.api_server_flags = vec![
        format!("--audit-policy-file={}", policy.path().display()),
        // In its work folder.
        format!("--audit-log-path={AUDIT_LOG}"),
        // Some clusters have this admission plugin, which requires permissions that no request names.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
    ];
    ControlPlane::start(options).await
}
