//! Checks that of several installations only the one that a pool and a launch config record buys for them, and that
//! another one is recorded by a person's word only.

use bullpen_api::{InstancePool, LaunchConfig};
use kube::{Resource, ResourceExt as _};

use crate::checker::index::{Index, Track, report};
use crate::checker::{LAG, Promise, Violation};

/// The annotation by which a person names the installation that takes an object over.
const TAKE_OVER: &str = "bullpen.dev/take-over";

pub(super) fn stand_off(index: &Index<'_>, found: &mut Vec<Violation>) {
    for pool in index.pools.values() {
        is_handed_over(pool, "pool", of_pool, found);
    }
    for config in index.launch_configs.values() {
        is_handed_over(config, "launch config", of_launch_config, found);
    }
    for machine in index.machines.values().filter(|machine| !machine.installation.is_empty()) {
        let Some(pool) = index.pool_of(machine.token, machine.member_name) else { continue };
        // The call that made it came at some time between these: earlier ones with its token may have failed.
        let (began, created) = (machine.began, machine.created);
        let (from, until) = (began - index.grace(began, began) - LAG, created + LAG);
        let of_pool = pool.within(from, until).any(|pool| of_pool(pool) == Some(machine.installation));
        let member = index.members.get(machine.token).and_then(|member| member.versions.first());
        let of_config = member.is_none_or(|member| {
            let name = &member.object.spec.placement.launch_config;
            let mut named = index.launch_configs.values().filter(|config| config.name() == *name).peekable();
            named.peek().is_none()
                || named
                    .flat_map(|config| config.within(from, until))
                    .any(|config| of_launch_config(config) == Some(machine.installation))
        });
        if !of_pool || !of_config {
            let whose = if of_pool { "the launch config of its member" } else { "its pool" };
            let what = format!(
                "machine {} of member {} was bought by installation {}, and another one worked on {whose}",
                machine.id, machine.member_name, machine.installation
            );
            report(found, machine.began, Promise::OneInstallation, what);
        }
    }
}

fn of_pool(pool: &InstancePool) -> Option<&str> {
    pool.status.as_ref()?.installation.as_deref()
}

fn of_launch_config(config: &LaunchConfig) -> Option<&str> {
    config.status.as_ref()?.installation.as_deref()
}

/// The recorded installation changes only to the one that the annotation names.
fn is_handed_over<K: Resource<DynamicType = ()>>(
    track: &Track<'_, K>,
    kind: &str,
    mark: fn(&K) -> Option<&str>,
    found: &mut Vec<Violation>,
) {
    for pair in track.versions.windows(2) {
        let (before, now) = (mark(pair[0].object), mark(pair[1].object));
        let word = |version: &K| version.annotations().get(TAKE_OVER).cloned();
        let words = [word(pair[0].object), word(pair[1].object)];
        let by_word = words.iter().flatten().any(|word| Some(word.as_str()) == now);
        if before.is_some() && before != now && !by_word {
            let what = format!("{kind} {} went from installation {before:?} to {now:?} without a word", track.name());
            report(found, pair[1].at, Promise::OneInstallation, what);
        }
    }
}
