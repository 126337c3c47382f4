//! `bullpen-demo`: starts a cluster, a simulated cloud and an operator, then shows and checks step by step what Bullpen
//! promises. Afterwards everything keeps running, so that people can try it.
//!
//! [`stage`] starts and stops the programs; [`sight`] watches objects into a [`view`]; [`walk`] and [`burst`] are the
//! steps; [`narrate`] prints.

mod burst;
mod examples;
mod failure;
mod job;
mod narrate;
mod phase;
mod play;
mod sight;
mod stage;
mod step;
mod view;
mod walk;

use std::path::PathBuf;
use std::sync::Arc;

pub use failure::Failure;

use self::examples::Examples;
use self::narrate::{GOOD, Narrator, paint};
use self::sight::Sight;
use self::stage::Stage;
use self::walk::Walk;

/// What to show, and where.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// End after the walk and remove everything.
    pub exit: bool,
    /// A cluster to use, with a new namespace; without it the demo starts a control plane.
    pub kubeconfig: Option<PathBuf>,
}

/// Runs the demo until the walk is over (with [`Options::exit`]) or the first value of `interrupted`. Then everything
/// is stopped in order. After a second value it no longer waits for the deletion of a namespace in a foreign cluster.
///
/// # Errors
/// When a check of the walk failed, or the walk was interrupted.
pub async fn run(options: &Options, mut interrupted: impl AsyncFnMut()) -> Result<(), Failure> {
    let say = Arc::new(Narrator::new());
    say.title("Bullpen: machines that are warm before anybody asks for one");
    let mut stage = Stage::default();
    let mut is_over = false;
    let outcome = tokio::select! {
        outcome = show(options, &say, &mut stage, &mut is_over) => outcome,
        () = interrupted() => Ok(()),
    };
    let outcome = match outcome {
        Ok(()) if is_over => Ok(()),
        Ok(()) => Err(Failure::new("interrupted before everything was shown")),
        Err(failure) => Err(stage.explain(failure)),
    };
    let taken_down = stage.take_down(&say, interrupted()).await;
    let outcome = match (outcome, taken_down) {
        (Err(failure), Err(another)) => Err(failure.and(another)),
        (outcome, taken_down) => outcome.and(taken_down),
    };
    if outcome.is_ok() {
        let verdict = paint(GOOD, "everything was as it should be");
        say.now(format_args!("{verdict}; nothing is left running"));
    }
    outcome
}

async fn show(options: &Options, say: &Arc<Narrator>, stage: &mut Stage, is_over: &mut bool) -> Result<(), Failure> {
    let ground = match &options.kubeconfig {
        None => {
            say.heading("A cluster and a cloud, on this machine");
            stage.own_cluster(say).await?
        }
        Some(kubeconfig) => {
            say.heading("Your cluster, and a cloud on this machine");
            stage.guest(kubeconfig, say).await?
        }
    };
    let cloud = stage.simcloud(say).await?;
    stage::definitions::apply(&ground.client, options.kubeconfig.is_some(), say).await?;
    stage.operator(&ground, say)?;

    let examples = Examples::with_endpoint(cloud.address());
    let examples = examples.map_err(|error| Failure::setup("reading examples/", &error))?;
    let sight = Sight::of(&ground.client, &ground.namespace);
    let walk = Walk::new(say, &sight, &cloud, &examples, &ground);
    let stage = &*stage;
    let walking = async {
        walk.warm_up().await?;
        walk.claim().await?;
        walk.release().await?;
        walk.burst().await?;
        walk.books().await?;
        if options.exit {
            walk.give_back().await?;
            *is_over = true;
        } else {
            *is_over = true;
            play::invite(say, &ground, stage, &examples);
            play::tell(say, &sight).await;
        }
        Ok(())
    };
    tokio::select! {
        outcome = walking => outcome,
        failure = stage.death() => Err(failure),
    }
}
