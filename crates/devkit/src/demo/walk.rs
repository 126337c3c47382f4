//! The walk: what Bullpen promises, shown and checked step by step.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use tokio::time::{Instant as Deadline, sleep};

use super::examples::Examples;
use super::failure::{Failure, causes};
use super::narrate::{BOLD, GOOD, Narrator, counted, paint, short};
use super::phase::{Counts, Phase};
use super::sight::Sight;
use super::stage::cloud::Cloud;
use super::stage::definitions::FIELD_MANAGER;
use super::stage::ground::Ground;
use super::step::Step;
use super::view::{Change, Moment};

/// How many claims are made at once.
pub(super) const BURST: usize = 20;

/// The promised time from a claim to the create of its machine's replacement.
const REPLACEMENT: Duration = Duration::from_secs(1);

// The others are deadlines: how long the demo waits for something before it fails.
pub(super) const BOOTED: Duration = Duration::from_secs(45);
pub(super) const BOUND: Duration = Duration::from_secs(10);
const GONE: Duration = Duration::from_secs(20);

/// Events within this time are printed together.
const SETTLE: Duration = Duration::from_millis(40);
const LEDGER_POLL: Duration = Duration::from_millis(25);

/// All that the steps need.
pub(super) struct Walk<'a> {
    pub(super) say: &'a Narrator,
    pub(super) sight: &'a Sight,
    pub(super) cloud: &'a Cloud,
    pub(super) examples: &'a Examples,
    pub(super) claims: Api<PoolClaim>,
    pub(super) pools: Api<InstancePool>,
    pub(super) secrets: Api<Secret>,
    launch_configs: Api<LaunchConfig>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        say: &'a Narrator,
        sight: &'a Sight,
        cloud: &'a Cloud,
        examples: &'a Examples,
        ground: &Ground,
    ) -> Self {
        let (client, namespace) = (ground.client.clone(), ground.namespace.as_str());
        Self {
            say,
            sight,
            cloud,
            examples,
            claims: Api::namespaced(client.clone(), namespace),
            pools: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            launch_configs: Api::namespaced(client, namespace),
        }
    }

    pub(super) fn step(&self, name: &'static str) -> Step<'a> {
        self.say.heading(name);
        Step::new(name, self.sight)
    }

    /// How many machines the pool keeps ready.
    pub(super) fn target(&self) -> usize {
        usize::try_from(self.examples.pool.spec.target_size).unwrap_or_default()
    }

    /// The pool is applied, and all of its machines become ready.
    pub(super) async fn warm_up(&self) -> Result<(), Failure> {
        let step = self.step("A pool warms up");
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        let (launch_config, pool) = (&self.examples.launch_config, &self.examples.pool);
        let (name, target) = (pool.name_any(), self.target());
        let refused = |error: kube::Error| step.failed("examples/ to be accepted", causes(&error));
        self.launch_configs
            .patch(&launch_config.name_any(), &apply, &Patch::Apply(launch_config))
            .await
            .map_err(refused)?;
        self.pools.patch(&name, &apply, &Patch::Apply(pool)).await.map_err(refused)?;
        let launch_config = launch_config.name_any();
        let applied = Instant::now();
        self.say.at(
            applied,
            format_args!("applied launchconfig/{launch_config} and instancepool/{name}: targetSize {target}"),
        );

        let (mut written, mut asked) = (false, false);
        let done = self
            .follow(0, BOOTED, |moment| {
                let counts = &moment.counts;
                let all = counts.total() == target;
                if all && !written {
                    written = true;
                    self.print(moment, &counts.words());
                } else if all && !asked && counts.get(Phase::Pending) == 0 {
                    asked = true;
                    self.print(moment, &counts.words());
                }
                self.print_ready(moment);
                counts.get(Phase::Ready) == target
            })
            .await;
        if done.is_none() {
            return Err(step.missed(&format!("{target} ready members"), BOOTED));
        }
        let warm = Instant::now();
        let took = short(warm.saturating_duration_since(applied));
        self.say.at(warm, format_args!("{}, {took} after it was applied", paint(GOOD, "the pool is warm")));
        Ok(())
    }

    /// One claim after the other gets a warm machine, which is replaced.
    pub(super) async fn claim(&self) -> Result<(), Failure> {
        let step = self.step("Claims take machines that are warm already");
        let mut used = BTreeSet::new();
        let known = self.sight.view().moments().len();
        self.write_input(&step).await?;
        for claim in &self.examples.claims {
            let member = self.claim_one(&step, claim).await?;
            if claim.spec.input_secret_ref.is_some() {
                self.is_told(&step, claim, &member).await?;
            }
            if !used.insert(member.clone()) {
                return Err(step.failed("each claim to get a member of its own", format!("{member} was bound twice")));
            }
        }
        self.refill(&step, known, true).await
    }

    async fn claim_one(&self, step: &Step<'_>, claim: &PoolClaim) -> Result<String, Failure> {
        let name = claim.name_any();
        let (ready, there): (_, BTreeSet<String>) = {
            let view = self.sight.view();
            (view.in_phase(Phase::Ready), view.members().keys().cloned().collect())
        };
        let (asked, asked_at) = (Instant::now(), Timestamp::now());
        let made = self.claims.create(&PostParams::default(), claim).await;
        made.map_err(|error| step.failed(&format!("claim {name} to be accepted"), causes(&error)))?;

        let bound = self.sight.until(Deadline::now() + BOUND, |view| {
            let claim = view.claims().get(&name).filter(|claim| claim.phase() != ClaimPhase::Pending)?;
            let at = claim.bound.ok_or_else(|| format!("it is {}: {}", claim.phase().as_str(), claim.reason()));
            Some(at.map(|at| (at, claim.member().to_owned(), claim.address().to_owned())))
        });
        let expected = format!("claim {name} to be Bound");
        let (at, member, address) = match bound.await {
            Some(bound) => bound.map_err(|seen| step.failed(&expected, seen))?,
            None => return Err(step.missed(&expected, BOUND)),
        };
        self.say.at(at, bound_line(&name, &member, &address, at.saturating_duration_since(asked)));
        if !ready.contains(&member) {
            return Err(step.failed(&format!("{name} to get a ready member"), format!("{member} was not ready")));
        }

        let replacement = self.sight.until(Deadline::now() + BOUND, |view| {
            let mut new = view.members().iter().filter(|(name, member)| {
                !there.contains(*name) && member.phase.is_some_and(|phase| phase != Phase::Pending)
            });
            new.next().map(|(name, member)| (name.clone(), member.object.uid().unwrap_or_default()))
        });
        let expected = format!("a member that replaces {member}");
        let (new, token) = replacement.await.ok_or_else(|| step.missed(&expected, BOUND))?;
        let books = self.cloud.books().await?;
        let Some(machine) = books.bought_for(&token) else {
            let seen = format!("the ledger has no create with the token of {new}, its uid {token}");
            return Err(step.failed("each machine to be bought with its member's uid", seen));
        };
        let delay = between(asked_at, machine.bought);
        self.say.now(format_args!("{new} is warming: it replaces {member}, asked for after {}", short(delay)));
        if delay >= REPLACEMENT {
            let expected = format!("the replacement's create to begin within {}", short(REPLACEMENT));
            return Err(step.failed(&expected, format!("{new} was asked for {} after the claim", short(delay))));
        }
        Ok(member)
    }

    /// A claim is deleted, and its machine is terminated.
    pub(super) async fn release(&self) -> Result<(), Failure> {
        let step = self.step("A claim is deleted, and its machine goes");
        let Some(name) = self.examples.claims.first().map(ResourceExt::name_any) else { return Ok(()) };
        let held = {
            let view = self.sight.view();
            let member = view.claims().get(&name).map(|claim| claim.member().to_owned()).unwrap_or_default();
            let id = view.members().get(&member).and_then(|member| member.instance_id()).map(str::to_owned);
            id.map(|id| (member, id))
        };
        let (member, id) = held.ok_or_else(|| step.failed("a member with a machine", "the member has no instance"))?;
        let known = self.sight.view().moments().len();
        let deleted_at = Timestamp::now();
        let deleted = self.claims.delete(&name, &DeleteParams::default()).await;
        deleted.map_err(|error| step.failed(&format!("claim {name} to be deleted"), causes(&error)))?;

        let gone = self.follow(known, GONE, |moment| match &moment.what {
            Change::ClaimGone(gone) if *gone == name => {
                self.say.at(moment.at, format_args!("claim {} deleted", paint(BOLD, &name)));
                false
            }
            Change::Member(there, Some(Phase::Terminating)) if *there == member => {
                self.say.at(moment.at, format_args!("{member} is terminating: nobody gets a used machine"));
                false
            }
            Change::Member(there, None) => *there == member,
            _ => false,
        });
        let expected = format!("{member} to go");
        let at = gone.await.ok_or_else(|| step.missed(&expected, GONE))?;
        let expected = format!("the machine {id} to be terminated");
        let terminated = self.terminated(&id, GONE).await?.ok_or_else(|| step.missed(&expected, GONE))?;
        let after = short(between(deleted_at, terminated));
        self.say.at(at, format_args!("{member} is gone; the cloud's ledger says: terminated after {after}"));
        let record_gone = self.sight.view().members().get(&member).and_then(|member| member.gone);
        if record_gone.is_some_and(|gone| gone < terminated) {
            return Err(step.failed("a member to outlive its machine", format!("{member} was gone before {id}")));
        }
        Ok(())
    }

    /// Waits until the ledger has a machine as terminated. It has to be polled.
    async fn terminated(&self, id: &str, patience: Duration) -> Result<Option<Timestamp>, Failure> {
        let deadline = Deadline::now() + patience;
        loop {
            let books = self.cloud.books().await?;
            let terminated = books.machine(id).and_then(|machine| machine.terminated);
            if terminated.is_some() || Deadline::now() >= deadline {
                return Ok(terminated);
            }
            sleep(LEDGER_POLL).await;
        }
    }

    /// Waits until the pool has its number of ready members and no others on the way. With `tell`, prints each member
    /// that became ready after the first `known` moments.
    pub(super) async fn refill(&self, step: &Step<'_>, known: usize, tell: bool) -> Result<(), Failure> {
        let target = self.target();
        let is_full = |counts: &Counts| {
            [Phase::Pending, Phase::Warming, Phase::Ready].map(|phase| counts.get(phase)) == [0, 0, target]
        };
        let so_far = self.sight.view().moments().len();
        let mut index = known;
        let filled = self.follow(known, BOOTED, |moment| {
            index += 1;
            if tell {
                self.print_ready(moment);
            }
            index >= so_far && is_full(&moment.counts)
        });
        if filled.await.is_none() {
            return Err(step.missed(&format!("{} again", counted(target, "ready member")), BOOTED));
        }
        let counts = self.sight.view().counts();
        self.say.now(format_args!("the pool has {target} ready again: {}", counts.words()));
        Ok(())
    }

    /// Passes each moment after the first `known` ones to `look`, in order, until it returns true. Returns the time of
    /// that moment; `None` if it does not happen in time.
    pub(super) async fn follow(
        &self,
        mut known: usize,
        patience: Duration,
        mut look: impl FnMut(&Moment) -> bool,
    ) -> Option<Instant> {
        let deadline = Deadline::now() + patience;
        loop {
            let batch = self.sight.batch(known, SETTLE, deadline).await?;
            known += batch.len();
            if let Some(last) = batch.iter().find(|moment| look(moment)) {
                return Some(last.at);
            }
        }
    }

    fn print(&self, moment: &Moment, text: &str) {
        self.say.at(moment.at, format_args!("{}{text}", self.say.bar(&moment.counts)));
    }

    /// Prints that a member became ready, or will never be.
    fn print_ready(&self, moment: &Moment) {
        let Change::Member(name, Some(phase @ (Phase::Ready | Phase::Errored))) = &moment.what else { return };
        let view = self.sight.view();
        let Some(member) = view.members().get(name) else { return };
        if *phase == Phase::Errored {
            let error = member.object.status.as_ref().and_then(|status| status.last_error.as_ref());
            let why = error.map_or_else(String::new, |error| format!(": {}: {}", error.class, error.message));
            return self.print(moment, &format!("{name} failed{why}"));
        }
        let took = short(moment.at.saturating_duration_since(member.appeared));
        self.print(moment, &format!("{name} is ready ({}), {took} after it was written", member.address()));
    }
}

/// `claim build-1 bound to ci-7xk2p (10.1.0.7) in 14 ms`
pub(super) fn bound_line(claim: &str, member: &str, address: &str, took: Duration) -> String {
    let took = paint(GOOD, short(took));
    format!("claim {} bound to {} ({address}) in {took}", paint(BOLD, claim), paint(BOLD, member))
}

/// The time between two readings of this machine's clock; zero if the clock was set back in between.
pub(super) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}
