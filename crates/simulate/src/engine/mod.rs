//! Plays a trace: takes one event after the other, and lets the plans decide whenever something changed.

mod autosize;
mod buyer;
mod life;
mod loops;
mod members;
mod meter;
mod queue;
mod setup;
mod standby;
mod timeline;

use bullpen_plan::pool::schedule::LastScheduled;
use bullpen_plan::pool::standby::Failures;
use bullpen_plan::pool::view::Standing;
use jiff::Timestamp;

use self::autosize::Autosizer;
use self::buyer::Buyer;
use self::members::{Activity, Members};
use self::meter::Meter;
use self::queue::Queue;
pub use self::setup::{Policy, Setup};
use self::timeline::{Event, Timeline};
use crate::cloud::Cloud;
use crate::outcome::{Claims, Machines, Outcome, Waits};
use crate::time::{Clock, Micros, SECOND};
use crate::trace::Arrival;

/// A pool gets a pass this often even if nothing changed, as from the operator.
const RESYNC: Micros = 300 * SECOND;
/// A plan that asks to look again at once is asked again after this time.
const SOONEST: Micros = 1_000;
/// How many claims come between two reports of the progress.
const PROGRESS: usize = 1_000;

/// A pool and its cloud while a trace is played.
struct World<'a> {
    setup: &'a Setup,
    trace: &'a [Arrival],
    now: Micros,
    clock: Clock,
    timeline: Timeline,
    members: Members,
    cloud: Cloud,
    queue: Queue,
    buyer: Buyer,
    autosizer: Autosizer,
    schedules: LastScheduled,
    /// Machines that could not be started for the standby tier.
    standby_failures: Failures,
    meter: Meter,
    /// Claims that came since the claims and members were last paired.
    fresh: Vec<usize>,
    /// The member of each claim.
    member_of: Vec<Option<usize>>,
    /// The pool needs a pass.
    changed: bool,
    /// When the pool needs one although nothing changed.
    wake: Option<Micros>,
    /// How long each claim with a machine waited.
    waits: Vec<Micros>,
    claims: Claims,
    machines: Machines,
}

/// Plays the trace, whose claims are in the order in which they come, the first of them at or after 0, as all readers of this crate
/// return them. `progress` is called now and then with how many claims have come.
///
/// # Errors
/// What in the pool cannot be played, or that no trace may begin when this one does.
pub fn run(setup: &Setup, trace: &[Arrival], mut progress: impl FnMut(usize)) -> Result<Outcome, String> {
    let usable = setup.usable()?;
    let clock = Clock::new(setup.starts_at).map_err(|why| format!("the start of the trace {why}"))?;
    let end = trace.last().map_or(0, |arrival| arrival.at).max(setup.lasts.unwrap_or(0));
    let begin = -setup.warm_up;
    let mut world = World {
        setup,
        trace,
        now: begin,
        clock,
        timeline: Timeline::default(),
        members: Members::new(
            setup.view(),
            usable.iter().map(|config| (config.name.clone(), setup.billing(&config.name))),
            clock,
        ),
        cloud: Cloud::new(setup.cloud, setup.seed),
        queue: Queue::new(&setup.pool, setup.wait_timeout, clock),
        meter: Meter::new(begin, end, usable.len()),
        buyer: Buyer::new(&setup.pool, &setup.name, usable, &setup.launch_configs, clock.timestamp(begin)),
        autosizer: Autosizer::new(&setup.pool, setup.cloud.creates),
        schedules: LastScheduled::default(),
        standby_failures: Failures::default(),
        fresh: Vec::new(),
        member_of: vec![None; trace.len()],
        changed: true,
        wake: None,
        waits: Vec::with_capacity(trace.len()),
        claims: Claims::default(),
        machines: Machines::default(),
    };
    if setup.policy != Policy::Operator {
        world.timeline.add(begin, Event::Tick);
    }
    world.decide();
    let (mut next, mut started) = (0, false);
    loop {
        let arrives = trace.get(next).map(|arrival| arrival.at);
        let Some(at) = [world.timeline.next_at(), arrives, world.wake].into_iter().flatten().min() else { break };
        if at > end {
            break;
        }
        if at >= 0 && !started {
            started = true;
            world.machines = Machines { at_start: world.members.gauges.total(), ..Machines::default() };
        }
        world.move_to(at);
        while let Some(arrival) = trace.get(next).filter(|arrival| arrival.at == at) {
            world.queue.arrive(next, arrival);
            world.autosizer.claim();
            world.fresh.push(next);
            next += 1;
            if next.is_multiple_of(PROGRESS) {
                progress(next);
            }
        }
        world.decide();
    }
    progress(next);
    world.move_to(end);
    Ok(world.outcome(end))
}

impl World<'_> {
    /// Moves on to this moment, and lets happen what happens then.
    fn move_to(&mut self, at: Micros) {
        self.meter.advance(at, &self.members.gauges, self.queue.waiting());
        self.now = at;
        if self.wake.is_some_and(|wake| wake <= at) {
            self.wake = None;
            self.changed = true;
        }
        while let Some(event) = self.timeline.take(at) {
            self.happen(event);
        }
    }

    /// Pairs claims with members, and has the policy buy.
    fn decide(&mut self) {
        let in_use = self.in_use();
        for (claim, member) in self.queue.pair(&self.members.ready, in_use, self.now) {
            self.hand_out(claim, member);
        }
        for claim in std::mem::take(&mut self.fresh) {
            self.changed = true;
            self.judge(claim);
        }
        if std::mem::take(&mut self.changed) && self.setup.policy == Policy::Operator {
            self.pass();
        }
    }

    /// Now, as the plans know it.
    fn timestamp(&self) -> Timestamp {
        self.clock.timestamp(self.now)
    }

    fn in_use(&self) -> bullpen_plan::claim::queue::InUse {
        self.queue.in_use(self.members.view.wanted_size(), self.setup.pool.max_size, self.members.total())
    }

    fn hand_out(&mut self, claim: usize, member: usize) {
        let arrival = self.trace[claim];
        if arrival.at == self.now {
            self.claims.hits += 1;
        } else {
            self.claims.waited += 1;
        }
        // The member is claimed with the first write, and the claim is Bound with the second.
        let bound = self.now + 2 * self.setup.cloud.write;
        self.waits.push(bound - arrival.at);
        self.member_of[claim] = Some(member);
        self.members.stand(member, Some(Standing::Claimed));
        self.members.bill(member, Some(Activity::Held));
        self.timeline.add(bound + arrival.holds, Event::Released(claim));
        self.changed = true;
    }

    fn judge(&mut self, claim: usize) {
        let (failed, again) = self.queue.judge(claim, &self.trace[claim], self.now);
        if failed {
            self.claims.failed += 1;
            self.changed = true;
        } else if let Some(again) = again {
            self.timeline.add(again.max(self.now + SOONEST), Event::Judge(claim));
        }
    }

    /// A pass of the operator over the pool.
    fn pass(&mut self) {
        let (pool, now) = (&self.setup.pool, self.timestamp());
        self.members.view.scheduled = self.schedules.at(pool, None, now);
        self.members.view.waiting = self.queue.demand(self.in_use());
        let coming: i64 = self.members.configs.iter().map(|config| config.in_flight).sum();
        let supply = (self.members.ready.len() as i64 + coming) as i32;
        let looked = self.autosizer.look(pool, supply, (self.now, self.clock));
        self.members.view.autosized = looked.and_then(|(size, _)| size);
        let plan = self.buyer.pass(&mut self.members, now);
        for uid in &plan.starts {
            if let Some(member) = self.members.find(uid) {
                self.start(member);
            }
        }
        for uid in &plan.stops {
            if let Some(member) = self.members.find(uid) {
                self.stop(member);
            }
        }
        for uid in &plan.deletes {
            if let Some(member) = self.members.find(uid) {
                self.give_up(member);
            }
        }
        for name in &plan.creates {
            if let Some(config) = self.buyer.number(name) {
                self.buy(config);
            }
        }
        let again = plan.look_again_at.map_or(Micros::MAX, |at| self.clock.micros(at)).max(self.now + SOONEST);
        let again = looked.map_or(again, |(_, at)| again.min(at));
        self.wake = Some(again.min(self.now + RESYNC));
    }

    fn outcome(mut self, end: Micros) -> Outcome {
        self.waits.sort_unstable();
        let at = |percent: usize| {
            let rank = (self.waits.len() * percent).div_ceil(100).max(1) - 1;
            self.waits.get(rank).map_or(0.0, |wait| *wait as f64 / SECOND as f64)
        };
        let sum: i128 = self.waits.iter().map(|wait| i128::from(*wait)).sum();
        let mean = sum as f64 / SECOND as f64 / self.waits.len().max(1) as f64;
        Outcome {
            claims: Claims { arrived: self.trace.len(), waiting: self.queue.waiting(), ..self.claims },
            waits: Waits { mean, p50: at(50), p95: at(95), p99: at(99), longest: at(100) },
            machines: Machines { at_end: self.members.gauges.total(), ..self.machines },
            hours: self.meter.hours(),
            paid_hours_by_launch_config: self.meter.paid_hours_by_config(),
            length_hours: end as f64 / crate::time::HOUR as f64,
            samples: self.meter.samples(),
        }
    }
}

#[cfg(test)]
mod tests;
