//! Members between the decision to create them and the answers of their POSTs.

use std::collections::{HashMap, HashSet};

use super::key::ObjectKey;

/// A member between the decision to create it and the answer of its POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMember {
    /// Its name.
    pub name: String,
    /// Its launch config.
    pub launch_config: String,
}

/// The planned members of all pools.
#[derive(Debug, Default)]
pub struct Planned {
    by_pool: HashMap<ObjectKey, HashMap<String, PlannedMember>>,
    by_launch_config: HashMap<ObjectKey, HashSet<ObjectKey>>,
}

impl Planned {
    /// The planned members of a pool.
    pub fn of<'a>(&'a self, pool: &ObjectKey) -> impl Iterator<Item = &'a PlannedMember> + use<'a> {
        self.by_pool.get(pool).into_iter().flat_map(HashMap::values)
    }

    /// Whether a member of this name is planned for the pool.
    pub fn contains(&self, pool: &ObjectKey, name: &str) -> bool {
        self.by_pool.get(pool).is_some_and(|planned| planned.contains_key(name))
    }

    /// The keys of the planned members of a launch config.
    pub fn of_launch_config<'a>(&'a self, launch_config: &ObjectKey) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
        self.by_launch_config.get(launch_config).into_iter().flatten()
    }

    /// Adds members of a pool that are about to be written.
    pub fn add(&mut self, pool: &ObjectKey, members: impl IntoIterator<Item = PlannedMember>) {
        for member in members {
            let (config, key) = keys(pool, &member);
            self.settle(pool, &member.name);
            self.by_launch_config.entry(config).or_default().insert(key);
            self.by_pool.entry(pool.clone()).or_default().insert(member.name.clone(), member);
        }
    }

    /// Removes a member whose POST was answered, or is not sent.
    pub fn settle(&mut self, pool: &ObjectKey, name: &str) {
        let Some(planned) = self.by_pool.get_mut(pool) else { return };
        let Some(member) = planned.remove(name) else { return };
        if planned.is_empty() {
            self.by_pool.remove(pool);
        }
        let (config, key) = keys(pool, &member);
        if let Some(planned) = self.by_launch_config.get_mut(&config) {
            planned.remove(&key);
            if planned.is_empty() {
                self.by_launch_config.remove(&config);
            }
        }
    }

    /// Removes all members of a pool that is gone.
    pub fn forget_pool(&mut self, pool: &ObjectKey) {
        let names: Vec<_> = self.of(pool).map(|planned| planned.name.clone()).collect();
        for name in names {
            self.settle(pool, &name);
        }
    }
}

/// The keys of the launch config and of the member, which are in the pool's namespace.
fn keys(pool: &ObjectKey, member: &PlannedMember) -> (ObjectKey, ObjectKey) {
    let key = |name: &str| ObjectKey::new(pool.namespace.as_str(), name);
    (key(&member.launch_config), key(&member.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_member_counts_for_its_pool_and_launch_config_until_it_is_settled() {
        let (pool, config) = (ObjectKey::new("ci", "linux"), ObjectKey::new("ci", "sim"));
        let member = |name: &str, config: &str| PlannedMember { name: name.into(), launch_config: config.into() };
        let mut planned = Planned::default();
        planned.add(&pool, [member("a", "sim"), member("b", "sim"), member("c", "other")]);
        planned.add(&pool, [member("a", "sim")]);
        assert_eq!((planned.of(&pool).count(), planned.of_launch_config(&config).count()), (3, 2));
        planned.settle(&pool, "a");
        planned.settle(&pool, "a");
        assert!(!planned.contains(&pool, "a") && planned.contains(&pool, "b"));
        assert_eq!(planned.of_launch_config(&config).collect::<Vec<_>>(), [&ObjectKey::new("ci", "b")]);
        assert_eq!(planned.of_launch_config(&ObjectKey::new("other", "sim")).count(), 0);
        planned.forget_pool(&pool);
        assert!(planned.by_pool.is_empty() && planned.by_launch_config.is_empty());
    }
}
