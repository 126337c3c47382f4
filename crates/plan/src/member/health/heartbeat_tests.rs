//! Machines that send heartbeats, and what their silence proves.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::ward::{Admission, Heard, Verdict, Ward, Woken};
use super::*;
use crate::operator::election::Boottime;

/// Three missed periods are allowed and one more is waited for. A heartbeat is overdue after 30 + 6 + 2 s.
const RULES: Rules = Rules { period: SignedDuration::from_secs(30), threshold: 4, max_replacements: 1 };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(100_000 + second).unwrap()
}

fn times(second: i64) -> (Boottime, Timestamp) {
    (Boottime::new(Duration::from_secs(u64::try_from(1_000 + second).unwrap())), at(second))
}

fn uid(number: u32) -> Uid {
    format!("m-{number}").into()
}

fn admit(ward: &mut Ward<String>, number: u32, pool: &str, claimed: bool, second: i64) {
    let (member, sign) = (format!("member-{number}"), Sign::Heartbeat);
    let admission =
        Admission { member, pool: pool.to_owned(), rules: RULES, sign, claimed, uses: 0, ready_since: None };
    ward.admit(&uid(number), admission, at(second));
}

fn round(ward: &mut Ward<String>, second: i64) -> Woken<String> {
    let (clock, now) = times(second);
    ward.round(clock, now);
    ward.look_for_silent(now)
}

fn beat(ward: &mut Ward<String>, numbers: impl IntoIterator<Item = u32>, second: i64) -> Woken<String> {
    let heard = Heard { from: numbers.into_iter().map(uid).collect(), lost: false };
    ward.hear(&heard, times(second))
}

/// Rounds of a second until this one, in which these machines send a heartbeat each 30 s.
fn live(ward: &mut Ward<String>, from: i64, until: i64, beating: &[u32]) {
    for second in from..=until {
        round(ward, second);
        beat(ward, beating.iter().copied().filter(|number| (second + i64::from(*number)) % 30 == 0), second);
    }
}

/// A ward in which so many machines of the pool `ci` are heard in turn.
fn ward(machines: u32) -> Ward<String> {
    let mut ward = Ward::default();
    for number in 0..machines {
        admit(&mut ward, number, "ci", false, 0);
    }
    live(&mut ward, 0, 60, &(0..machines).collect::<Vec<_>>());
    ward
}

fn fails(ward: &mut Ward<String>, number: u32, second: i64) -> bool {
    matches!(ward.verdict(&uid(number), at(second)), Verdict::Fails { .. })
}

fn suspension(ward: &Ward<String>, second: i64) -> Option<Suspension> {
    ward.suspension(&"ci".to_owned(), at(second))
}

#[test]
fn a_heartbeat_of_an_earlier_use_of_a_machine_is_nobodys() {
    let mut ward = Ward::default();
    let used = |uses| {
        let (member, sign) = ("member-1".to_owned(), Sign::Heartbeat);
        Admission { member, pool: "ci".to_owned(), rules: RULES, sign, claimed: false, uses, ready_since: None }
    };
    ward.admit(&uid(1), used(2), at(0));
    let answers = |ward: &mut Ward<String>, from: &str, second| {
        ward.hear(&Heard { from: vec![from.into()], lost: false }, times(second));
        ward.verdict(&uid(1), at(second)) == Verdict::Answers
    };
    for former in ["m-1", "m-1.1", "m-1.3", "m-1.02"] {
        assert!(!answers(&mut ward, former, 5), "{former}");
    }
    assert!(answers(&mut ward, "m-1.2", 6));
    ward.admit(&uid(1), used(3), at(7));
    assert_eq!(ward.verdict(&uid(1), at(7)), Verdict::Undecided, "its system is another one");
    assert!(!answers(&mut ward, "m-1.2", 8) && answers(&mut ward, "m-1.3", 9));
}

#[test]
fn a_pool_of_heartbeats_waits_for_one_period_more_than_one_that_is_asked() {
    let health = |probe| -> Health { serde_json::from_value(serde_json::json!({ "probe": probe })).unwrap() };
    let beats = health(serde_json::json!({ "heartbeat": {} }));
    assert_eq!(Rules::of(&beats), RULES);
    assert_eq!(Rules::of(&health(serde_json::json!({ "tcpSocket": { "port": 22 } }))).threshold, 3);
    assert_eq!(Sign::of(&beats.probe, &[], true), Some(Sign::Heartbeat));
    assert_eq!(Sign::of(&beats.probe, &[], false), None, "it was not bought to call");
}

#[test]
fn a_machine_that_falls_silent_among_others_is_unhealthy_after_its_periods_and_not_before() {
    let mut ward = ward(5);
    // Its last one came at second 60, so the first is missed at 98 and the fourth 90 s later.
    live(&mut ward, 61, 187, &[1, 2, 3, 4]);
    assert!(!fails(&mut ward, 0, 187));
    live(&mut ward, 188, 188, &[1, 2, 3, 4]);
    let Verdict::Fails { at: proved, message } = ward.verdict(&uid(0), at(188)) else { panic!("it is silent") };
    assert_eq!(proved, at(188));
    assert_eq!(message, "no heartbeat came for 4 periods of 30 s in a row; last: 1970-01-02T03:47:40Z");
    assert_eq!(ward.verdict(&uid(1), at(188)), Verdict::Answers);
    assert_eq!(beat(&mut ward, [0], 189).members, ["member-0"], "it is well again");
    assert_eq!(ward.verdict(&uid(0), at(189)), Verdict::Answers);
}

#[test]
fn when_nobody_is_heard_nobody_is_replaced_and_all_strikes_are_void_when_somebody_is_heard_again() {
    let mut ward = ward(2);
    live(&mut ward, 61, 400, &[]);
    assert_eq!(suspension(&ward, 400), Some(Suspension::Unheard));
    assert!(!fails(&mut ward, 0, 400) && !fails(&mut ward, 1, 400));
    assert_eq!(ward.tally(&"ci".to_owned()).failing, 2);
    beat(&mut ward, [1], 401);
    assert_eq!(ward.tally(&"ci".to_owned()).failing, 0);
    let mut strange = ward;
    live(&mut strange, 402, 401 + 38 + 89, &[1]);
    assert!(!fails(&mut strange, 0, 401 + 38 + 89), "it has all of its periods again");
    live(&mut strange, 402 + 38 + 89, 410 + 38 + 90, &[1]);
    assert!(fails(&mut strange, 0, 410 + 38 + 90));
    assert_eq!(suspension(&strange, 410 + 38 + 90), None);
}

#[test]
fn heartbeats_of_machines_that_boot_show_that_the_way_is_open() {
    let mut ward = ward(1);
    for second in 61..=188 {
        round(&mut ward, second);
        beat(&mut ward, (second % 20 == 0).then_some(77), second);
    }
    assert!(fails(&mut ward, 0, 188), "its own pool has no other machine");
}

#[test]
fn a_replica_that_lost_heartbeats_voids_all_strikes() {
    let mut ward = ward(5);
    live(&mut ward, 61, 170, &[1, 2, 3, 4]);
    assert_eq!(ward.tally(&"ci".to_owned()).failing, 1);
    let woken = ward.hear(&Heard { from: Vec::new(), lost: true }, times(170));
    assert_eq!((woken.pools, suspension(&ward, 170)), (vec!["ci".to_owned()], Some(Suspension::Unheard)));
    live(&mut ward, 171, 170 + 38 + 89, &[1, 2, 3, 4]);
    assert!(!fails(&mut ward, 0, 170 + 38 + 89));
}

#[test]
fn a_new_leader_gives_each_machine_all_of_its_periods() {
    let mut ward = Ward::default();
    for number in 0..5 {
        admit(&mut ward, number, "ci", false, 0);
    }
    let offered = ward.candidate("m-0", &"ci".to_owned(), &RULES, at(37));
    assert_eq!(offered, Candidate::Silent, "nothing is known of it yet, so that others come first");
    live(&mut ward, 0, 38 + 89, &[1, 2, 3, 4]);
    assert!(!fails(&mut ward, 0, 38 + 89));
    live(&mut ward, 38 + 90, 38 + 90, &[1, 2, 3, 4]);
    let Verdict::Fails { message, .. } = ward.verdict(&uid(0), at(38 + 90)) else { panic!("it is silent") };
    assert_eq!(message, "no heartbeat came for 4 periods of 30 s in a row; last: none since the operator leads");
}

#[test]
fn an_operator_that_stood_still_waits_for_all_periods_anew_whatever_it_does_first() {
    for first in ["round", "heartbeat"] {
        let mut ward = ward(5);
        live(&mut ward, 61, 170, &[1, 2, 3, 4]);
        let woke = 600;
        if first == "round" {
            round(&mut ward, woke)
        } else {
            beat(&mut ward, [3], woke)
        };
        live(&mut ward, woke, woke + 38 + 89, &[1, 2, 3, 4]);
        for number in 0..5 {
            assert!(!fails(&mut ward, number, woke + 38 + 89), "{first}: {number}");
        }
        live(&mut ward, woke + 38 + 90, woke + 38 + 91, &[1, 2, 3, 4]);
        assert!(fails(&mut ward, 0, woke + 38 + 91), "{first}");
    }
}

#[test]
fn a_silent_machine_is_offered_after_all_others_and_a_mass_is_not_believed() {
    let (mut ward, pool) = (ward(10), "ci".to_owned());
    live(&mut ward, 61, 97, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(ward.candidate("m-0", &pool, &RULES, at(97)), Candidate::Fresh);
    assert_eq!(ward.candidate("m-0", &pool, &RULES, at(98)), Candidate::Silent);
    assert!(Candidate::Silent.limit().is_none() && Candidate::Silent.passes(&Look::Silent));
    live(&mut ward, 98, 250, &[3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(suspension(&ward, 250), Some(Suspension::Many));
    assert!((0..3).all(|number| !fails(&mut ward, number, 250)));
    assert_eq!(ward.candidate("m-0", &pool, &RULES, at(250)), Candidate::Fresh);
}

#[test]
fn to_a_new_leader_machines_that_were_heard_or_have_just_become_ready_come_before_all_others() {
    let (mut ward, pool) = (Ward::default(), "ci".to_owned());
    let candidate = |ward: &Ward<String>, number, second| ward.candidate(&uid(number), &pool, &RULES, at(second));
    for (number, ready_since) in [(0, Some(at(-5_000))), (1, Some(at(-5_000))), (2, Some(at(-10))), (3, None)] {
        let (member, sign) = (format!("member-{number}"), Sign::Heartbeat);
        let (rules, claimed, uses) = (RULES, false, 0);
        let admission = Admission { member, pool: pool.clone(), rules, sign, claimed, uses, ready_since };
        ward.admit(&uid(number), admission, at(0));
    }
    let offered = [0, 1, 2, 3].map(|number| candidate(&ward, number, 1));
    assert_eq!(offered, [Candidate::Silent, Candidate::Silent, Candidate::Fresh, Candidate::Silent]);
    round(&mut ward, 1);
    beat(&mut ward, [0], 2);
    assert_eq!(candidate(&ward, 0, 2), Candidate::Fresh, "it was heard");
    assert_eq!(candidate(&ward, 1, 2), Candidate::Silent, "it may have been dead for an hour");
    assert_eq!(candidate(&ward, 2, 29), Candidate::Silent, "it became ready 39 s ago");
    assert!((0..4).all(|number| !fails(&mut ward, number, 29)), "none of that proves anything");
}

#[test]
fn what_costs_nothing_while_nothing_changes_wakes_nobody() {
    let mut ward = ward(5);
    for second in 61..=300 {
        let mut woken = round(&mut ward, second);
        let heard = beat(&mut ward, (0..5).filter(|number| (second + i64::from(*number)) % 30 == 0), second);
        woken.members.extend(heard.members);
        assert!(woken.members.is_empty() && woken.pools.is_empty() && heard.pools.is_empty(), "{second}");
    }
    assert!(ward.begin_due(at(300)).is_empty(), "nobody is asked");
}

/// What may happen.
#[derive(Clone, Debug)]
enum Happening {
    Admit { number: u32, pool: usize, claimed: bool },
    Dismiss(u32),
    Beat(u32),
    Lost,
    Failed(u32),
    Sleep(i64),
    Stall(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let number = 0..8_u32;
    prop_oneof![
        3 => (number.clone(), 0..2_usize, any::<bool>())
            .prop_map(|(number, pool, claimed)| Happening::Admit { number, pool, claimed }),
        1 => number.clone().prop_map(Happening::Dismiss),
        12 => number.clone().prop_map(Happening::Beat),
        1 => Just(Happening::Lost),
        1 => number.prop_map(Happening::Failed),
        8 => (1..40_i64).prop_map(Happening::Sleep),
        1 => (6..200_i64).prop_map(Happening::Stall),
    ]
}

const POOLS: [&str; 2] = ["a", "b"];

proptest! {
    /// A machine is unhealthy only after threshold + 1 periods in which it was silent, it was watched, the operator did not
    /// stand still, nothing was lost and others were heard; the counts are those of a recount.
    #[test]
    fn whatever_happens_only_silence_among_others_proves_anything(story in prop::collection::vec(happening(), 0..150)) {
        let mut ward: Ward<String> = Ward::default();
        // Pool, whether claimed, and since when silence counts.
        let mut known: BTreeMap<u32, (usize, bool, i64)> = BTreeMap::new();
        let (mut second, mut heard, mut longest_gap_ended) = (0_i64, None::<i64>, 0_i64);
        let enough = RULES.period.as_secs() * i64::from(RULES.threshold);
        for step in story {
            match step {
                Happening::Admit { number, pool, claimed } => {
                    let since = known.get(&number).filter(|(before, ..)| *before == pool).map_or(second, |it| it.2);
                    known.insert(number, (pool, claimed, since));
                    admit(&mut ward, number, POOLS[pool], claimed, second);
                }
                Happening::Dismiss(number) => {
                    known.remove(&number);
                    ward.dismiss(&uid(number));
                }
                Happening::Beat(number) => {
                    if heard.is_none_or(|last| second - last >= 38) {
                        longest_gap_ended = second;
                    }
                    heard = Some(second);
                    if let Some(machine) = known.get_mut(&number) { machine.2 = second; }
                    beat(&mut ward, [number], second);
                }
                Happening::Lost => {
                    ward.hear(&Heard { from: Vec::new(), lost: true }, times(second));
                    longest_gap_ended = second;
                }
                Happening::Failed(number) => {
                    if let Some((pool, ..)) = known.get(&number) {
                        ward.failed(&uid(number), &POOLS[*pool].to_owned(), at(second));
                    }
                }
                Happening::Sleep(seconds) => {
                    for _ in 0..seconds {
                        second += 1;
                        round(&mut ward, second);
                    }
                }
                Happening::Stall(seconds) => {
                    second += seconds;
                    round(&mut ward, second);
                    longest_gap_ended = second;
                }
            }
            let mut unhealthy = [0_usize; 2];
            for (number, (pool, claimed, since)) in &known {
                if !fails(&mut ward, *number, second) {
                    continue;
                }
                prop_assert!(second - since >= enough, "{number} is silent since {since}, at {second}");
                // A machine without a strike loses nothing when strikes are voided.
                prop_assert!(second - longest_gap_ended >= enough - 38, "a gap ended at {longest_gap_ended}, at {second}");
                if !claimed {
                    unhealthy[*pool] += 1;
                }
            }
            prop_assert!(unhealthy.iter().all(|count| *count <= RULES.max_replacements), "{unhealthy:?}");
            for (index, pool) in POOLS.iter().enumerate() {
                let (mut probed, mut failing) = (0, 0);
                for number in known.iter().filter(|(_, (of, ..))| *of == index).map(|(number, _)| *number) {
                    let (is_known, strikes) = ward.vitals(&uid(number)).map_or((false, 0), |it| (it.is_known(), it.strikes));
                    probed += u32::from(is_known);
                    failing += u32::from(strikes > 0);
                }
                prop_assert_eq!(ward.tally(&(*pool).to_owned()), Tally { probed, failing });
            }
        }
    }
}
