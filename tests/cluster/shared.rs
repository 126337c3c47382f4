//! One control plane for all tests of this process.

use std::{sync::OnceLock, thread};

use bullpen::control_plane::{ControlPlane, Options};
use tokio::runtime::Builder;

/// The control plane that the tests of this process share, a namespace each. The first caller
/// starts it; it ends with the process.
///
/// It lives on a runtime of its own, because each `#[tokio::test]` ends its runtime. Make a client
/// in each test: connections belong to a runtime too.
pub(crate) fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceLock<ControlPlane> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (tell, started) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let outcome = runtime.block_on(ControlPlane::start(Options::default()));
            tell.send(outcome).expect("somebody waits for the control plane");
            runtime.block_on(std::future::pending::<()>());
        });
        let outcome = started.recv().expect("the thread of the control plane lives");
        outcome.unwrap_or_else(|error| panic!("{error}"))
    })
}
