//! Lists of machines, correct ones and those that faults change.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Cloud, ListQuery, MAX_PAGE, Machine};
use crate::draw::Draw;
use crate::faults::{CallFault, Hit, Roll};
use crate::ledger::{Fault, What};
use crate::wire::{Instance, InstanceList, Market, Phase};

impl Cloud {
    /// One page of machines, in the order in which they were created.
    pub fn list(&mut self, now: Timestamp, query: &ListQuery) -> InstanceList {
        self.list_with(now, query, None)
    }

    /// One page, changed by the fault that hit the call.
    pub fn list_with(&mut self, now: Timestamp, query: &ListQuery, hit: Option<&Hit<CallFault>>) -> InstanceList {
        self.advance(now);
        let mut page = self.page(query, hit.map(|hit| &hit.fault));
        if let Some(hit) = hit.filter(|hit| crate::cloud::faces::shapes_lists(&hit.fault)) {
            let ids = self.spoil(&mut page, query, hit);
            let line = Fault {
                rule: hit.rule.clone(),
                fault: hit.fault.name().to_owned(),
                method: Some(query.method()),
                token: query.token.as_deref().map(crate::cloud::clip),
                id: None,
                ids,
            };
            self.ledger.push(self.now, What::Fault(line));
        }
        self.record_shown(query.method(), (query.token.as_deref(), None), &page.items);
        page
    }

    fn page(&self, query: &ListQuery, fault: Option<&CallFault>) -> InstanceList {
        let limit = query.limit.unwrap_or(MAX_PAGE).min(self.faults.set().page_size.unwrap_or(MAX_PAGE)).min(MAX_PAGE);
        let from = query.after.map_or(0, |after| after.saturating_add(1));
        let range = match &query.token {
            Some(token) => {
                let key = crate::cloud::account_token(self.acting.as_deref(), token);
                self.purchases.get(&key).map_or(0..0, |purchase| purchase.number..purchase.number + 1)
            }
            None => from..u64::MAX,
        };
        let wanted = |now: Timestamp, (number, machine): &(u64, &Machine)| {
            *number >= from
                && machine.account == self.acting
                && !machine.is_hidden(now, query.method())
                && query.matches(&machine.instance)
        };
        let today = self.machines.range(range.clone()).map(|(number, machine)| (*number, machine));
        let mut found: Vec<(u64, Instance)> = if let Some(CallFault::Stale { milliseconds }) = fault {
            let then = self.now.saturating_sub(SignedDuration::from_millis(*milliseconds as i64));
            let then = then.unwrap_or(Timestamp::MIN);
            let past = self.past.at(then, today);
            let found = past.range(range).map(|(number, machine)| (*number, *machine));
            found.filter(|item| wanted(then, item)).take(limit + 1).map(cloned).collect()
        } else {
            today.filter(|item| wanted(self.now, item)).take(limit + 1).map(cloned).collect()
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(number, _)| number.to_string());
        InstanceList { items: found.into_iter().map(|(_, instance)| instance).collect(), next }
    }

    /// The ids of the machines that were omitted, repeated or invented.
    fn spoil(&self, page: &mut InstanceList, query: &ListQuery, hit: &Hit<CallFault>) -> Vec<String> {
        let number = |instance: &Instance| self.numbers.get(&instance.id).copied().unwrap_or(0);
        let ids = |items: &[Instance]| items.iter().map(|item| item.id.clone()).collect::<Vec<_>>();
        match &hit.fault {
            CallFault::Empty {} => {
                page.next = None;
                ids(&std::mem::take(&mut page.items))
            }
            CallFault::OmitPage {} => ids(&std::mem::take(&mut page.items)),
            CallFault::CutShort {} => {
                page.next = None;
                ids(&page.items.split_off(page.items.len() / 2))
            }
            CallFault::Omit { percent } => {
                let items = std::mem::take(&mut page.items).into_iter();
                let (out, kept): (Vec<_>, Vec<_>) =
                    items.partition(|item| hit.roll.of(number(item)).is_within(*percent));
                page.items = kept;
                ids(&out)
            }
            CallFault::Duplicate { percent } => {
                let doubled = page.items.iter().filter(|item| hit.roll.of(number(item)).is_within(*percent));
                let doubled: Vec<_> = doubled.cloned().collect();
                page.items.extend(doubled.iter().cloned());
                page.items.sort_by_key(number);
                ids(&doubled)
            }
            CallFault::Foreign { count, tags, tags_asked_for } => {
                let mut tags = tags.clone();
                if *tags_asked_for {
                    tags.extend(query.tags.iter().cloned());
                }
                let made = (0..*count).map(|n| self.stranger(n, query, tags.clone(), hit.roll));
                let made: Vec<_> = made.collect();
                page.items.extend(made.iter().cloned());
                ids(&made)
            }
            _ => Vec::new(),
        }
    }

    /// A machine that does not exist.
    fn stranger(&self, n: u32, query: &ListQuery, tags: BTreeMap<String, String>, roll: Roll) -> Instance {
        let region = query.region.clone().unwrap_or_else(|| "elsewhere".to_owned());
        Instance {
            id: Draw::new(roll.of(n.into()).up_to(u64::MAX), 0).id(),
            token: query.token.clone().unwrap_or_else(|| format!("foreign-{n}")),
            zone: format!("{region}-a"),
            region,
            market: Market::OnDemand,
            instance_type: "foreign".to_owned(),
            image: "foreign".to_owned(),
            phase: Phase::Running,
            ready: true,
            impaired: false,
            interruption_time: None,
            interruption_reason: None,
            addresses: Vec::new(),
            launch_time: self.now,
            boot_time: Some(self.now),
            hibernated: false,
            last_reset: None,
            tags,
        }
    }
}

fn cloned((number, machine): (u64, &Machine)) -> (u64, Instance) {
    (number, machine.instance.clone())
}
