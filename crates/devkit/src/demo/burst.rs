//! The second half of the walk: many claims at once, a comparison with the cloud's ledger, and the removal of
//! everything.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bullpen_api::ClaimPhase;
use futures::future::join_all;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use tokio::time::Instant as Deadline;

use super::failure::{Failure, causes};
use super::narrate::{GOOD, counted, paint, short};
use super::phase::Phase;
use super::step::Step;
use super::view::View;
use super::walk::{BOOTED, BOUND, BURST, Walk};

/// Claims that are bound within this time are printed in one line.
const SETTLE: Duration = Duration::from_millis(250);
/// Deadline for the removal of everything. No boots are waited for then.
const ALL_GONE: Duration = Duration::from_secs(45);

impl Walk<'_> {
    /// More claims at once than there are ready machines.
    pub(super) async fn burst(&self) -> Result<(), Failure> {
        let warm = self.target();
        let step = self.step("20 claims at once, on 5 warm machines");
        let (ready, known) = {
            let view = self.sight.view();
            (view.in_phase(Phase::Ready), view.moments().len())
        };
        let names: Vec<String> = (1..=BURST).map(|number| format!("job-{number:02}")).collect();
        // Open a connection for each claim beforehand, so that no handshakes are measured. Failures show later.
        join_all(names.iter().map(|name| self.claims.get_opt(name))).await;
        let begun = Instant::now();
        let creating = join_all(names.iter().map(async |name| {
            let asked = Instant::now();
            let made = self.claims.create(&PostParams::default(), &self.examples.claim(name.clone())).await;
            made.map(|_| asked).map_err(|error| step.failed(&format!("claim {name} to be accepted"), causes(&error)))
        }));
        let (asked, told) = tokio::join!(creating, self.tell_bound(&step, &names, begun, warm));
        told?;
        let asked: Vec<Instant> = asked.into_iter().collect::<Result<_, _>>()?;

        let (mut took, members): (Vec<Duration>, BTreeSet<String>) = {
            let view = self.sight.view();
            let bound = names.iter().zip(asked).filter_map(|(name, asked)| {
                let claim = view.claims().get(name)?;
                Some((claim.bound?.saturating_duration_since(asked), claim.member().to_owned()))
            });
            bound.unzip()
        };
        took.sort_unstable();
        let (Some(middle), Some(longest)) = (took.get(BURST / 2 - 1), took.last()) else { return Ok(()) };
        let rest = BURST.saturating_sub(ready.len());
        self.say.note(format_args!(
            "claim to Bound: p50 {}, max {}; {rest} of them waited for a boot",
            short(*middle),
            short(*longest)
        ));
        self.check_distinct(&step, &members, &ready)?;
        self.say.note(format_args!("{BURST} claims hold {BURST} machines; {}", paint(GOOD, "no member bound twice")));
        self.refill(&step, known, false).await
    }

    fn check_distinct(
        &self,
        step: &Step<'_>,
        members: &BTreeSet<String>,
        ready: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let shared = self.sight.view().shared_members();
        if !shared.is_empty() || members.len() != BURST {
            let seen = format!("{BURST} claims hold {}; bound twice: {shared:?}", counted(members.len(), "member"));
            return Err(step.failed("no member to be bound twice", seen));
        }
        let passed: Vec<_> = ready.difference(members).collect();
        if !passed.is_empty() {
            return Err(step.failed("all ready machines to be used", format!("these were not: {passed:?}")));
        }
        Ok(())
    }

    /// Prints how many of the claims are bound, until all are.
    async fn tell_bound(&self, step: &Step<'_>, names: &[String], begun: Instant, warm: usize) -> Result<(), Failure> {
        let bound = |view: &View| -> Vec<Instant> {
            let mut bound: Vec<_> =
                names.iter().filter_map(|name| view.claims().get(name).and_then(|claim| claim.bound)).collect();
            bound.sort_unstable();
            bound
        };
        let mut told = warm;
        let expected = format!("{} to be bound at once", counted(warm, "claim"));
        let first = self.sight.until(Deadline::now() + BOUND, |view| bound(view).get(warm - 1).copied());
        let at = first.await.ok_or_else(|| step.missed(&expected, BOUND))?;
        let took = paint(GOOD, short(at.saturating_duration_since(begun)));
        self.say.at(at, format_args!("{}  {warm} bound within {took}", self.say.progress(warm, BURST)));

        let deadline = Deadline::now() + BOOTED;
        while told < names.len() {
            let expected = format!("all {} to be bound", counted(names.len(), "claim"));
            let next = self.sight.until(deadline, |view| (bound(view).len() > told).then_some(()));
            next.await.ok_or_else(|| self.unbound(step, &expected))?;
            tokio::time::sleep(SETTLE).await;
            let so_far = bound(&self.sight.view());
            told = so_far.len();
            let at = so_far.last().copied().unwrap_or(begun);
            let words = match names.len() - told {
                0 => format!("all {told} bound within {}", paint(GOOD, short(at.saturating_duration_since(begun)))),
                waiting => format!("{told} bound, {waiting} wait for machines that boot"),
            };
            self.say.at(at, format_args!("{}  {words}", self.say.progress(told, BURST)));
        }
        Ok(())
    }

    fn unbound(&self, step: &Step<'_>, expected: &str) -> Failure {
        let ended: Vec<String> = {
            let view = self.sight.view();
            let ended = view.claims().iter().filter(|(_, claim)| claim.phase() == ClaimPhase::Failed);
            ended.map(|(name, claim)| format!("{name}: {}", claim.reason())).collect()
        };
        if ended.is_empty() { step.missed(expected, BOOTED) } else { step.failed(expected, ended.join(", ")) }
    }

    /// The cloud's ledger agrees with what was requested.
    pub(super) async fn books(&self) -> Result<(), Failure> {
        let step = self.step("What the cloud's ledger says of all this");
        let books = self.cloud.books().await?;
        let claims = self.examples.claims.len() + BURST;
        let (bought, terminated) = (books.bought(), books.terminated());
        let running = bought - terminated;
        self.say.note(format_args!(
            "{bought:2} machines bought: {} for the pool, one for each of {claims} claims",
            self.target()
        ));
        self.say.note(format_args!("{terminated:2} terminated: the machine of the claim that was deleted"));
        self.say.note(format_args!("{running:2} running: {} held by claims, {} ready", claims - 1, self.target()));
        let expected = (self.target() + claims, 1, 0);
        if (bought, terminated, books.bought_twice()) != expected {
            let wanted = format!("{} machines bought, none twice with one token, and 1 terminated", expected.0);
            let seen = format!("{bought} bought, {} twice, {terminated} terminated", books.bought_twice());
            return Err(step.failed(&wanted, seen));
        }
        let strays: Vec<String> = {
            let view = self.sight.view();
            let uids: BTreeSet<String> = view
                .members()
                .values()
                .filter(|member| member.phase.is_some())
                .filter_map(|m| m.object.uid())
                .collect();
            books.alive().filter(|(_, token)| !uids.contains(*token)).map(|(id, _)| id.to_owned()).collect()
        };
        if !strays.is_empty() {
            return Err(step.failed("each machine to have a member", format!("these have none: {strays:?}")));
        }
        Ok(())
    }

    /// All claims and the pool are deleted, and every machine is terminated.
    pub(super) async fn give_back(&self) -> Result<(), Failure> {
        let step = self.step("Everything is given back");
        let pool = self.examples.pool.name_any();
        let refused = |error: kube::Error| step.failed("claims and pool to be deleted", causes(&error));
        self.claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await.map_err(refused)?;
        self.pools.delete(&pool, &DeleteParams::default()).await.map_err(refused)?;
        let deleted = Instant::now();
        self.say.at(deleted, format_args!("all claims and instancepool/{pool} deleted"));
        let gone = self
            .sight
            .until(Deadline::now() + ALL_GONE, |view| (view.counts().total() == 0 && !view.has_pool()).then_some(()));
        gone.await.ok_or_else(|| step.missed("no member and no pool to be left", ALL_GONE))?;
        let books = self.cloud.books().await?;
        let left: Vec<&str> = books.alive().map(|(id, _)| id).collect();
        if !left.is_empty() {
            return Err(step.failed("every machine to be terminated", format!("these run: {left:?}")));
        }
        let (bought, ended) = (books.bought(), Instant::now());
        let took = short(ended.saturating_duration_since(deleted));
        self.say.at(ended, format_args!("all {bought} machines that were bought are terminated, {took} later"));
        Ok(())
    }
}
