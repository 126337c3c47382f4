//! The members of a simulated pool, as the plans count them and as the cloud bills them.

use std::collections::BTreeSet;

use bullpen_plan::pool::billing::Billing;
use bullpen_plan::pool::standby::Power;
use bullpen_plan::pool::view::{CountedMember, PoolView, Standing};
use jiff::SignedDuration;

use crate::time::{Clock, Micros};

/// What a machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Booting,
    Idle,
    Held,
    Ending,
    /// It is on standby, and does not bill.
    Stopped,
}

/// How many activities there are.
pub const ACTIVITIES: usize = 5;

/// How many machines there are by what they do, and how many bill by launch config.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    by_activity: [i64; ACTIVITIES],
    /// By launch config.
    pub by_config: Vec<i64>,
}

impl Gauges {
    /// Booting, idle, held, ending and stopped.
    pub const fn by_activity(&self) -> [i64; ACTIVITIES] {
        self.by_activity
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.by_activity.iter().sum::<i64>() as usize
    }
}

/// One member, and its machine.
#[derive(Clone, Debug)]
pub struct Member {
    pub uid: String,
    /// Number of its launch config in the pool.
    pub config: usize,
    /// What it counts as; `None`: it is gone.
    pub standing: Option<Standing>,
    /// When its machine was last asked to come up.
    pub created: Micros,
    /// When its create was accepted.
    pub launched: Option<Micros>,
    /// Since when it bills without a stop; `None` while it is stopped.
    pub bills_since: Option<Micros>,
    /// When its machine boots or was reset, from the operator's view.
    pub warming: Micros,
    /// When its machine runs; `None`: never.
    pub runs: Option<Micros>,
    pub ready: Option<Micros>,
    /// Since when its create is not answered.
    pub calls: Option<Micros>,
    /// Claims that its machine has served.
    pub uses: i32,
    /// Its machine was started from standby.
    pub started: bool,
    /// Its last claim has ended, and its machine ends because of that.
    pub served: bool,
    bills: Option<Activity>,
    place: usize,
}

impl Member {
    fn counted(&self, of: &OfConfig, standing: Standing, clock: Clock) -> CountedMember {
        CountedMember {
            uid: self.uid.clone(),
            standing,
            launch_config: of.name.clone(),
            created: clock.timestamp(self.created),
            launched: self.bills_since.map(|at| clock.timestamp(at)),
            ready_since: self.ready.map(|at| clock.timestamp(at)),
            outdated: false,
            hold: false,
            unanswered_since: self.calls.map(|at| clock.timestamp(at)),
            billing: of.billing.zip(self.bills_since).map(|(unit, launched)| Billing {
                launched: clock.timestamp(launched),
                unit: SignedDuration::from_micros(unit),
            }),
            launch_config_ends: false,
            power: Power {
                can_stop: of.can_stop,
                refused_until: None,
                ran_before: self.uses > 0 || self.started,
                from_standby: self.started,
            },
        }
    }
}

/// What the plans ask of the members of one launch config.
#[derive(Clone, Debug, Default)]
pub struct OfConfig {
    pub name: String,
    /// In which units its machines are billed, if in any.
    pub billing: Option<Micros>,
    /// Whether its machines can be stopped.
    pub can_stop: bool,
    /// All members.
    pub members: i64,
    /// Pending and warming ones.
    pub in_flight: i64,
    /// Those that became ready, whatever they are now.
    pub ever_ready: i64,
    /// Pending ones.
    pub pending: i64,
}

/// All members.
#[derive(Debug)]
pub struct Members {
    pub all: Vec<Member>,
    /// The pool as the plans see it: with every member but the claimed ones, which are counted.
    pub view: PoolView,
    /// The members of `view.members`, in the same order.
    listed: Vec<usize>,
    /// The members that may be handed out, in the order of that.
    pub ready: BTreeSet<(Micros, usize)>,
    pub configs: Vec<OfConfig>,
    pub gauges: Gauges,
    clock: Clock,
}

impl Members {
    /// A pool without members.
    pub fn new(view: PoolView, configs: impl Iterator<Item = (String, Option<Micros>)>, clock: Clock) -> Self {
        let config = |(name, billing): (String, Option<Micros>)| {
            let can_stop = view.standby.launch_configs.contains(&name);
            OfConfig { name, billing, can_stop, ..OfConfig::default() }
        };
        let configs: Vec<_> = configs.map(config).collect();
        let gauges = Gauges { by_activity: [0; ACTIVITIES], by_config: vec![0; configs.len()] };
        Self { all: Vec::new(), view, listed: Vec::new(), ready: BTreeSet::new(), configs, gauges, clock }
    }

    /// A new member of this launch config.
    pub fn begin(&mut self, config: usize, now: Micros) -> usize {
        let number = self.all.len();
        self.all.push(Member {
            uid: format!("m{number}"),
            config,
            standing: None,
            created: now,
            launched: None,
            bills_since: None,
            warming: now,
            runs: None,
            ready: None,
            calls: None,
            uses: 0,
            started: false,
            served: false,
            bills: None,
            place: usize::MAX,
        });
        self.configs[config].members += 1;
        self.stand(number, Some(Standing::Pending));
        number
    }

    /// The number of the member with this uid.
    pub fn find(&self, uid: &str) -> Option<usize> {
        uid.get(1..)?.parse().ok().filter(|number| *number < self.all.len())
    }

    /// All members, as `maxSize` counts them.
    pub fn total(&self) -> usize {
        self.listed.len() + self.view.claimed.unsigned_abs() as usize
    }

    /// The member counts as this from now on; `None`: it is gone. What else is known of it was changed before.
    pub fn stand(&mut self, number: usize, standing: Option<Standing>) {
        let member = &mut self.all[number];
        let before = std::mem::replace(&mut member.standing, standing);
        let of_config = &mut self.configs[member.config];
        for (standing, change) in [(before, -1), (standing, 1)] {
            match standing {
                Some(Standing::Pending) => {
                    of_config.pending += change;
                    of_config.in_flight += change;
                }
                Some(Standing::Warming) => of_config.in_flight += change,
                Some(Standing::Ready) if change < 0 => {
                    self.ready.remove(&(member.warming, number));
                }
                Some(Standing::Ready) => {
                    self.ready.insert((member.warming, number));
                }
                Some(Standing::Claimed) => self.view.claimed += change as i32,
                _ => {}
            }
        }
        if standing.is_none() {
            of_config.members -= 1;
            of_config.ever_ready -= i64::from(member.ready.is_some());
        }
        match standing {
            None | Some(Standing::Claimed) => self.unlist(number),
            Some(standing) => {
                let counted = member.counted(of_config, standing, self.clock);
                if let Some(place) = self.view.members.get_mut(member.place) {
                    *place = counted;
                } else {
                    member.place = self.listed.len();
                    self.listed.push(number);
                    self.view.members.push(counted);
                }
            }
        }
    }

    /// Something but the standing of the member has changed.
    pub fn recount(&mut self, number: usize) {
        self.stand(number, self.all[number].standing);
    }

    /// The member became ready, or its machine was reset and is not any more.
    pub fn set_ready(&mut self, number: usize, at: Option<Micros>) {
        let member = &mut self.all[number];
        let change = i64::from(at.is_some()) - i64::from(member.ready.is_some());
        self.configs[member.config].ever_ready += change;
        member.ready = at;
    }

    /// What its machine does from now on; `None`: it does not bill.
    pub fn bill(&mut self, number: usize, does: Option<Activity>) {
        let member = &mut self.all[number];
        for (does, change) in [(std::mem::replace(&mut member.bills, does), -1), (does, 1)] {
            if let Some(does) = does {
                self.gauges.by_activity[does as usize] += change;
                if does != Activity::Stopped {
                    self.gauges.by_config[member.config] += change;
                }
            }
        }
    }

    /// The rest of the unit in which a machine ends now, which is paid though it is gone.
    pub fn rest_of_unit(&self, number: usize, now: Micros) -> Micros {
        let member = &self.all[number];
        let unit = self.configs[member.config].billing;
        let lived = unit.zip(member.bills_since).map(|(unit, since)| (unit, (now - since).max(0)));
        lived.map_or(0, |(unit, lived)| (unit - lived % unit) % unit)
    }

    fn unlist(&mut self, number: usize) {
        let place = std::mem::replace(&mut self.all[number].place, usize::MAX);
        if place < self.listed.len() {
            self.listed.swap_remove(place);
            self.view.members.swap_remove(place);
            if let Some(moved) = self.listed.get(place) {
                self.all[*moved].place = place;
            }
        }
    }
}
