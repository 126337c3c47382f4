//! Waits until the programs are ready.

use std::{
    future::Future,
    path::Path,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client};
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

use super::ControlPlaneError;
use super::process::Process;
use crate::supervise::last_lines;

/// Timeout for a start: ten times what it takes on 2 busy cores.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(25);
/// An API server that is starting accepts connections before it answers.
const ONE_ANSWER: Duration = Duration::from_secs(2);

/// Waits until the store accepts connections.
pub(super) async fn socket(process: &Process, path: &Path) -> Result<(), ControlPlaneError> {
    until(process, || async { UnixStream::connect(path).await.map(drop).map_err(|error| error.to_string()) }).await
}

/// Waits until the API server reports that it has started completely.
pub(super) async fn api_server(process: &Process, config: &kube::Config) -> Result<(), ControlPlaneError> {
    let client = impatient(config)?;
    until(process, || async {
        let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
        client.request_text(request).await.map(drop).map_err(|error| error.to_string())
    })
    .await
}

/// Waits until objects can be created in the default namespace; with a controller manager pods too,
/// which need its service account.
pub(super) async fn namespace(
    api_server: &Process,
    controller_manager: Option<&Process>,
    config: &kube::Config,
) -> Result<(), ControlPlaneError> {
    let client = impatient(config)?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client);
    until(api_server, || async { namespaces.get("default").await.map(drop).map_err(|error| error.to_string()) })
        .await?;
    match controller_manager {
        Some(process) => {
            until(process, || async { accounts.get("default").await.map(drop).map_err(|error| error.to_string()) })
                .await
        }
        None => Ok(()),
    }
}

fn impatient(config: &kube::Config) -> Result<Client, ControlPlaneError> {
    let mut config = config.clone();
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ControlPlaneError::Client(Box::new(error)))
}

/// Retries until the answer is good, the process ends or the timeout is over.
async fn until<F>(process: &Process, mut ask: impl FnMut() -> F) -> Result<(), ControlPlaneError>
where
    F: Future<Output = Result<(), String>>,
{
    let began = Instant::now();
    let asking = async {
        loop {
            let answer = timeout(ONE_ANSWER, ask()).await.unwrap_or_else(|_| Err("no answer".to_owned()));
            match answer {
                Ok(()) => return Ok(()),
                Err(answer) if began.elapsed() > PATIENCE => {
                    return Err(ControlPlaneError::NotReady {
                        program: process.program(),
                        waited: PATIENCE,
                        answer,
                        last_lines: last_lines(process.log()),
                        log: process.log().to_owned(),
                    });
                }
                Err(_) => sleep(POLL).await,
            }
        }
    };
    tokio::select! {
        outcome = asking => outcome,
        death = process.death() => Err(death),
    }
}
