use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;

use super::ward::{Admission, Verdict, Ward, Woken};
use super::*;
use crate::member::readiness::Target;
use crate::operator::election::Boottime;

const RULES: Rules = Rules { period: SignedDuration::from_secs(30), threshold: 3, max_replacements: 1 };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(100_000 + seconds).unwrap()
}

fn clock(seconds: i64) -> Boottime {
    Boottime::new(Duration::from_secs(u64::try_from(1_000 + seconds).unwrap()))
}

fn uid(number: u32) -> Uid {
    format!("m-{number}").into()
}

fn target(number: u32) -> Target {
    Target { host: format!("10.0.0.{number}"), probe: Probe::Tcp { port: 22 } }
}

fn admission(number: u32, pool: &'static str, claimed: bool) -> Admission<String> {
    Admission {
        member: format!("member-{number}"),
        pool: pool.to_owned(),
        rules: RULES,
        sign: Sign::Answer(target(number)),
        claimed,
        uses: 0,
        ready_since: Some(at(-100)),
    }
}

/// A ward in which so many unclaimed machines of the pool `ci` have answered at second 0.
fn ward(machines: u32) -> Ward<String> {
    let mut ward = Ward::default();
    ward.round(clock(0), at(0));
    for number in 0..machines {
        ward.admit(&uid(number), admission(number, "ci", false), at(0));
        probe(&mut ward, number, 0, true);
    }
    ward
}

/// A probe of this machine at this second, as if it were due.
fn probe(ward: &mut Ward<String>, number: u32, second: i64, answered: bool) -> Woken<String> {
    ward.round(clock(second), at(second));
    let result = if answered { Ok(()) } else { Err("connection refused") };
    ward.probed(&uid(number), &target(number), at(second), result, (clock(second), at(second)))
}

/// Rounds, in which nothing is due, until this second: the operator does not stand still.
fn pass_time(ward: &mut Ward<String>, from: i64, until: i64) {
    for second in from..=until {
        ward.round(clock(second), at(second));
    }
}

/// This machine fails so many probes in a row, one each 30 s from second 30 on. Returns the second of the last.
fn fail(ward: &mut Ward<String>, number: u32, times: i64) -> i64 {
    for time in 1..=times {
        pass_time(ward, (time - 1) * 30 + 1, time * 30);
        probe(ward, number, time * 30, false);
    }
    times * 30
}

fn fails(ward: &mut Ward<String>, number: u32, second: i64) -> bool {
    matches!(ward.verdict(&uid(number), at(second)), Verdict::Fails { .. })
}

#[test]
fn a_machine_is_unhealthy_after_as_many_failed_probes_in_a_row_as_the_pool_says_and_not_before() {
    let mut ward = ward(5);
    let last = fail(&mut ward, 0, 2);
    assert_eq!(ward.verdict(&uid(0), at(last)), Verdict::Undecided);
    assert_eq!(ward.verdict(&uid(1), at(last)), Verdict::Answers);
    pass_time(&mut ward, 61, 90);
    assert_eq!(probe(&mut ward, 0, 90, false).members, ["member-0"], "it is judged at once");
    let Verdict::Fails { at: proved, message } = ward.verdict(&uid(0), at(90)) else { panic!("it fails") };
    assert_eq!(proved, at(90));
    assert_eq!(
        message,
        "no health probe has succeeded since 1970-01-02T03:47:10Z, 3 in a row: whether 10.0.0.0:22 accepts a TCP \
         connection; last: connection refused"
    );
    assert_eq!(probe(&mut ward, 0, 91, true).members, ["member-0"], "it is well again");
    assert_eq!(ward.verdict(&uid(0), at(91)), Verdict::Answers);
}

#[test]
fn probes_that_fail_in_quick_succession_are_one_strike() {
    let mut vitals = Vitals::default();
    for second in [0, 1, 5, 23] {
        vitals.failed(at(second), "no answer", &RULES);
    }
    assert_eq!(vitals.strikes, 1);
    vitals.failed(at(24), "no answer", &RULES);
    assert_eq!((vitals.strikes, vitals.failing_since), (2, Some(at(0))));
    vitals.answered(at(25));
    assert_eq!(vitals, Vitals { answered_at: Some(at(25)), ..Vitals::default() });
}

#[test]
fn no_more_members_are_replaced_at_once_than_the_pool_allows() {
    let mut ward = ward(12);
    fail(&mut ward, 0, 3);
    probe(&mut ward, 1, 90, false);
    pass_time(&mut ward, 91, 120);
    probe(&mut ward, 1, 120, false);
    pass_time(&mut ward, 121, 150);
    probe(&mut ward, 1, 150, false);
    assert!(fails(&mut ward, 0, 150));
    assert!(!fails(&mut ward, 1, 150), "one is enough at a time");
    ward.failed(&uid(0), &"ci".to_owned(), at(150));
    ward.dismiss(&uid(0));
    assert!(!fails(&mut ward, 1, 151), "no other one is ready in its place yet");
    let young = Admission { ready_since: Some(at(170)), ..admission(99, "ci", false) };
    ward.admit(&uid(99), young, at(171));
    assert!(fails(&mut ward, 1, 171));
}

#[test]
fn a_replacement_that_never_becomes_ready_and_one_that_recovers_make_room_for_another() {
    let mut ward = ward(12);
    fail(&mut ward, 0, 3);
    assert!(fails(&mut ward, 0, 90));
    for second in [90, 120, 150] {
        pass_time(&mut ward, second - 29, second);
        probe(&mut ward, 1, second, false);
    }
    assert!(!fails(&mut ward, 1, 150));
    probe(&mut ward, 0, 151, true);
    assert!(fails(&mut ward, 1, 151), "the first has recovered");
    ward.failed(&uid(1), &"ci".to_owned(), at(151));
    for second in [180, 210, 240] {
        pass_time(&mut ward, second - 29, second);
        probe(&mut ward, 2, second, false);
    }
    assert!(!fails(&mut ward, 2, 240));
    pass_time(&mut ward, 241, 752);
    assert!(fails(&mut ward, 2, 752), "nobody became ready for ten minutes");
}

#[test]
fn when_more_than_a_fifth_of_a_pool_fails_at_once_nobody_is_replaced_until_that_is_over_for_two_periods() {
    let mut ward = ward(10);
    let mut woken = Vec::new();
    for second in [30, 60, 90] {
        pass_time(&mut ward, second - 29, second);
        for number in 0..3 {
            woken.extend(probe(&mut ward, number, second, false).pools);
        }
    }
    assert_eq!(woken, ["ci"], "the pool says so once");
    assert_eq!(ward.suspension(&"ci".to_owned(), at(90)), Some(Suspension::Many));
    assert!((0..3).all(|number| !fails(&mut ward, number, 90)));
    assert_eq!(ward.candidate("m-0", &"ci".to_owned(), &RULES, at(90)), Candidate::Fresh, "it is not believed");
    pass_time(&mut ward, 91, 100);
    probe(&mut ward, 2, 100, true);
    assert!(!fails(&mut ward, 0, 119), "the others are asked once more first");
    let mut woken = Woken::default();
    for second in 101..=151 {
        let now = ward.round(clock(second), at(second));
        woken.members.extend(now.members);
        woken.pools.extend(now.pools);
    }
    woken.members.sort();
    assert_eq!(
        (woken.pools, woken.members),
        (vec!["ci".to_owned()], vec!["member-0".to_owned(), "member-1".to_owned()])
    );
    assert!(fails(&mut ward, 0, 151));
}

#[test]
fn two_machines_of_a_small_pool_are_no_mass() {
    let mut ward = ward(2);
    for second in [30, 60, 90] {
        pass_time(&mut ward, second - 29, second);
        for number in 0..2 {
            probe(&mut ward, number, second, false);
        }
    }
    assert_eq!(ward.suspension(&"ci".to_owned(), at(90)), None);
    assert!(fails(&mut ward, 0, 90));
}

#[test]
fn when_most_machines_of_all_pools_fail_no_small_pool_replaces_anybody() {
    let mut ward = Ward::default();
    let pools = ["a", "b", "c"];
    for (number, pool) in (0..).zip(pools) {
        ward.admit(&uid(number), admission(number, pool, false), at(0));
    }
    for second in [30, 60, 90] {
        pass_time(&mut ward, second - 29, second);
        for number in 0..3 {
            probe(&mut ward, number, second, false);
        }
    }
    for (number, pool) in (0..).zip(pools) {
        assert_eq!(ward.suspension(&pool.to_owned(), at(90)), Some(Suspension::AllPools), "{pool}");
        assert!(!fails(&mut ward, number, 90));
    }
}

#[test]
fn where_no_machine_has_ever_answered_the_probe_itself_is_doubted_and_a_changed_probe_is_doubted_anew() {
    let (mut ward, pool) = (Ward::default(), "ci".to_owned());
    for number in 0..2 {
        ward.admit(&uid(number), admission(number, "ci", false), at(0));
    }
    for second in [30, 60, 90] {
        pass_time(&mut ward, second - 29, second);
        for number in 0..2 {
            probe(&mut ward, number, second, false);
        }
    }
    assert_eq!(ward.suspension(&pool, at(90)), Some(Suspension::NeverAnswered));
    assert!(!fails(&mut ward, 0, 90));
    assert_eq!(ward.candidate("m-0", &pool, &RULES, at(90)), Candidate::Fresh, "claims get machines");
    assert_eq!(probe(&mut ward, 1, 91, true).pools, ["ci"]);
    assert!(fails(&mut ward, 0, 91), "the probe is good, so it is the machine");

    let other = Target { probe: Probe::Tcp { port: 80 }, ..target(0) };
    ward.admit(&uid(0), Admission { sign: Sign::Answer(other.clone()), ..admission(0, "ci", false) }, at(92));
    for second in [120, 150, 180] {
        pass_time(&mut ward, second - 27, second);
        ward.probed(&uid(0), &other, at(second), Err("refused"), (clock(second), at(second)));
    }
    assert_eq!(ward.suspension(&pool, at(180)), Some(Suspension::NeverAnswered));
}

#[test]
fn an_operator_that_stood_still_forgets_all_strikes_and_believes_nothing_for_a_period() {
    let mut ward = ward(20);
    let last = fail(&mut ward, 0, 2);
    pass_time(&mut ward, last, last + 20);
    // It was suspended; the answer of a probe that was under way is the first thing that it hears.
    let woke = last + 120;
    let answer = ward.probed(&uid(1), &target(1), at(last + 20), Err("no answer"), (clock(woke), at(woke)));
    assert_eq!(answer, Woken::default(), "it failed because of that");
    assert_eq!(ward.suspension(&"ci".to_owned(), at(woke)), Some(Suspension::Stalled));
    assert_eq!(ward.round(clock(woke), at(woke)).pools, ["ci"]);
    probe(&mut ward, 0, woke + 1, false);
    assert!(!fails(&mut ward, 0, woke + 1), "strikes from before count for nothing");
    assert!(matches!(ward.candidate("m-2", &"ci".to_owned(), &RULES, at(woke)), Candidate::Stale(_)));
    pass_time(&mut ward, woke + 2, woke + 31);
    assert_eq!(ward.suspension(&"ci".to_owned(), at(woke + 31)), None);
}

#[test]
fn claimed_machines_are_judged_apart_so_that_what_users_do_there_keeps_no_ready_one_from_its_replacement() {
    let mut ward = ward(10);
    for number in 10..20 {
        ward.admit(&uid(number), admission(number, "ci", true), at(0));
    }
    for second in [30, 60, 90] {
        pass_time(&mut ward, second - 29, second);
        for number in (10..14).chain([0]) {
            probe(&mut ward, number, second, false);
        }
        for number in (1..10).chain(14..20) {
            probe(&mut ward, number, second, true);
        }
    }
    assert_eq!(ward.suspension(&"ci".to_owned(), at(90)), Some(Suspension::ManyClaimed));
    assert!(!fails(&mut ward, 10, 90), "no claim is flagged");
    assert!(fails(&mut ward, 0, 90));
    assert_eq!(ward.tally(&"ci".to_owned()), Tally { probed: 20, failing: 5 });
}

#[test]
fn a_candidate_is_looked_at_the_more_the_longer_it_has_not_answered() {
    let of = |answered: Option<i64>, strikes| {
        let vitals = Vitals { answered_at: answered.map(at), strikes, ..Vitals::default() };
        candidate(Some(&vitals), None, &RULES, false, at(100))
    };
    assert_eq!(of(Some(99), 0), Candidate::Fresh);
    assert_eq!(of(Some(71), 0), Candidate::Recent(SHORT_LOOK_LIMIT));
    assert_eq!(of(Some(69), 0), Candidate::Stale(LOOK_LIMIT));
    assert_eq!(of(None, 0), Candidate::Stale(LOOK_LIMIT));
    assert_eq!(of(Some(99), 1), Candidate::Failing(LOOK_LIMIT));
    assert_eq!(candidate(None, None, &RULES, false, at(100)), Candidate::Stale(LOOK_LIMIT), "after a restart");
    assert_eq!(candidate(None, Some(at(101)), &RULES, false, at(100)), Candidate::Doubted(at(101)));
    assert_eq!(candidate(None, Some(at(100)), &RULES, false, at(100)), Candidate::Stale(LOOK_LIMIT));
    let refused = Look::Refused("connection refused".to_owned());
    assert!(!Candidate::Recent(SHORT_LOOK_LIMIT).passes(&refused), "its port is closed");
    assert!(Candidate::Recent(SHORT_LOOK_LIMIT).passes(&Look::Silent), "it may be slow");
    assert!(!Candidate::Stale(LOOK_LIMIT).passes(&Look::Silent));
    assert!(Candidate::Stale(LOOK_LIMIT).passes(&Look::Alive));
}

#[test]
fn a_machine_that_did_not_answer_a_look_is_struck_probed_at_once_and_offered_again_when_it_answers() {
    let mut ward = ward(5);
    ward.begin_due(at(0));
    let refused = Look::Refused("connection refused".to_owned());
    ward.looked(&uid(0), &refused, false, at(10), at(10));
    assert_eq!(ward.candidate("m-0", &"ci".to_owned(), &RULES, at(11)), Candidate::Doubted(at(15)));
    let due: Vec<_> = ward.begin_due(at(10)).into_iter().map(|probe| probe.uid).collect();
    assert!(due.contains(&uid(0)), "{due:?}");
    assert_eq!(ward.tally(&"ci".to_owned()), Tally { probed: 5, failing: 1 }, "it is struck");
    assert_eq!(probe(&mut ward, 0, 11, true).offering, ["ci"]);
    assert_eq!(ward.candidate("m-0", &"ci".to_owned(), &RULES, at(12)), Candidate::Fresh);
}

#[test]
fn a_machine_at_another_address_has_to_prove_itself_anew_and_old_answers_do_not_count() {
    let mut ward = ward(5);
    fail(&mut ward, 0, 3);
    let moved = Admission { sign: Sign::Answer(target(200)), ..admission(0, "ci", false) };
    ward.admit(&uid(0), moved, at(95));
    assert_eq!(ward.verdict(&uid(0), at(95)), Verdict::Undecided);
    assert_eq!(ward.tally(&"ci".to_owned()), Tally { probed: 4, failing: 0 });
    probe(&mut ward, 0, 96, false);
    assert_eq!(ward.tally(&"ci".to_owned()).failing, 0, "that was sent to the old address");
    let next: Vec<_> = ward.begin_due(at(96)).into_iter().filter(|probe| probe.uid == uid(0)).collect();
    assert_eq!(next.first().map(|probe| probe.target.clone()), Some(target(200)), "it is asked at once");
}

#[test]
fn the_first_probes_of_many_machines_are_spread_over_the_period() {
    let mut ward: Ward<String> = Ward::default();
    for number in 0..3_000 {
        ward.admit(&uid(number), admission(number, "ci", false), at(0));
    }
    let sent: Vec<usize> = (1..=30).map(|second| ward.begin_due(at(second)).len()).collect();
    assert_eq!(sent.iter().sum::<usize>(), 3_000);
    assert!(sent.iter().all(|count| (60..150).contains(count)), "{sent:?}");
}

#[test]
fn the_condition_of_a_pool_comes_with_the_first_suspension_and_stays() {
    let mut conditions = Vec::new();
    assert_eq!(note(&mut conditions, None, Some(1), at(0)), None);
    assert!(conditions.is_empty());
    let (warning, reason, _) = note(&mut conditions, Some(Suspension::Many), Some(1), at(1)).expect("an event");
    assert_eq!((warning, reason, conditions[0].status.as_str()), (true, Reason::ManyFail, "True"));
    assert_eq!(note(&mut conditions, Some(Suspension::Many), Some(1), at(2)), None, "it is said once");
    let over = note(&mut conditions, None, Some(1), at(3)).map(|(warning, reason, _)| (warning, reason));
    assert_eq!((over, conditions[0].status.as_str()), (Some((false, Reason::ProbesBelieved)), "False"));
    let all = [
        Suspension::Stalled,
        Suspension::AllPools,
        Suspension::NeverAnswered,
        Suspension::Many,
        Suspension::ManyClaimed,
    ];
    for suspension in all {
        assert!(suspension.told().1.len() < bullpen_api::MAX_MESSAGE, "{suspension:?}");
    }
}

/// What may happen to a ward.
#[derive(Clone, Debug)]
enum Happening {
    Admit { number: u32, pool: usize, claimed: bool },
    Dismiss(u32),
    Probe { number: u32, answered: bool },
    Look { number: u32, answered: bool },
    Failed(u32),
    Sleep(i64),
    Stall(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let number = 0..12_u32;
    prop_oneof![
        3 => (number.clone(), 0..2_usize, any::<bool>())
            .prop_map(|(number, pool, claimed)| Happening::Admit { number, pool, claimed }),
        1 => number.clone().prop_map(Happening::Dismiss),
        8 => (number.clone(), any::<bool>()).prop_map(|(number, answered)| Happening::Probe { number, answered }),
        1 => (number.clone(), any::<bool>()).prop_map(|(number, answered)| Happening::Look { number, answered }),
        1 => number.prop_map(Happening::Failed),
        6 => (1..40_i64).prop_map(Happening::Sleep),
        1 => (6..200_i64).prop_map(Happening::Stall),
    ]
}

const POOLS: [&str; 2] = ["a", "b"];

proptest! {
    /// The counts are those of a recount, nobody is judged while that is suspended, no more unclaimed members than
    /// allowed, and each only after as many strikes as the rules say, over as much time.
    #[test]
    fn whatever_happens_only_proved_and_few_machines_are_unhealthy(story in prop::collection::vec(happening(), 0..120)) {
        let mut ward: Ward<String> = Ward::default();
        let mut known: BTreeMap<u32, (usize, bool)> = BTreeMap::new();
        let mut failures: HashMap<u32, Vec<i64>> = HashMap::new();
        let mut second = 0_i64;
        for step in story {
            match step {
                Happening::Admit { number, pool, claimed } => {
                    if known.get(&number).is_some_and(|(before, _)| *before != pool) {
                        failures.remove(&number);
                    }
                    known.insert(number, (pool, claimed));
                    ward.admit(&uid(number), admission(number, POOLS[pool], claimed), at(second));
                }
                Happening::Dismiss(number) => {
                    known.remove(&number);
                    failures.remove(&number);
                    ward.dismiss(&uid(number));
                }
                Happening::Probe { number, answered } => {
                    probe(&mut ward, number, second, answered);
                    if answered { failures.remove(&number); } else { failures.entry(number).or_default().push(second); }
                }
                Happening::Look { number, answered } => {
                    let look = if answered { Look::Alive } else { Look::Refused("refused".to_owned()) };
                    ward.looked(&uid(number), &look, answered, at(second), at(second));
                    if answered { failures.remove(&number); } else { failures.entry(number).or_default().push(second); }
                }
                Happening::Failed(number) => {
                    if let Some((pool, _)) = known.get(&number) {
                        ward.failed(&uid(number), &POOLS[*pool].to_owned(), at(second));
                    }
                }
                Happening::Sleep(seconds) => {
                    for _ in 0..seconds {
                        second += 1;
                        ward.round(clock(second), at(second));
                    }
                }
                Happening::Stall(seconds) => {
                    second += seconds;
                    ward.round(clock(second), at(second));
                    failures.clear();
                }
            }
            let mut unhealthy: HashMap<usize, usize> = HashMap::new();
            for (number, (pool, claimed)) in &known {
                if !fails(&mut ward, *number, second) {
                    continue;
                }
                let suspension = ward.suspension(&POOLS[*pool].to_owned(), at(second));
                prop_assert!(!matches!(suspension, Some(Suspension::Stalled | Suspension::AllPools | Suspension::NeverAnswered)));
                let failed = failures.get(number).cloned().unwrap_or_default();
                prop_assert!(failed.len() >= 3 && failed[failed.len() - 1] - failed[0] >= 48, "{failed:?}");
                if !claimed {
                    *unhealthy.entry(*pool).or_default() += 1;
                }
            }
            prop_assert!(unhealthy.values().all(|count| *count <= RULES.max_replacements), "{unhealthy:?}");
            for (index, pool) in POOLS.iter().enumerate() {
                let members = known.iter().filter(|(_, (of, _))| *of == index).map(|(number, _)| *number);
                let (mut probed, mut failing) = (0, 0);
                for number in members {
                    let (is_known, strikes) = ward.vitals(&uid(number)).map_or((false, 0), |it| (it.is_known(), it.strikes));
                    probed += u32::from(is_known);
                    failing += u32::from(strikes > 0);
                }
                prop_assert_eq!(ward.tally(&(*pool).to_owned()), Tally { probed, failing });
            }
        }
    }
}

proptest! {
    #[test]
    fn a_machine_that_has_not_answered_for_a_period_is_handed_out_only_if_it_answers_now(
        answered in prop::option::of(0_i64..200),
        struck in prop::option::of(0_i64..200),
        doubted in prop::option::of(0_i64..300),
        now in 200_i64..300,
    ) {
        let mut vitals = Vitals::default();
        if let Some(second) = answered {
            vitals.answered(at(second));
        }
        if let Some(second) = struck {
            vitals.failed(at(second), "refused", &RULES);
        }
        let judged = candidate(Some(&vitals), doubted.map(at), &RULES, false, at(now));
        let recent = answered.is_some_and(|second| second + 30 >= now) && vitals.strikes == 0;
        let handed_out_unseen = judged.passes(&Look::Silent) && !matches!(judged, Candidate::Doubted(_));
        prop_assert!(!handed_out_unseen || recent, "{judged:?}");
        let refused = judged.passes(&Look::Refused("refused".to_owned()));
        prop_assert!(!refused || answered.is_some_and(|second| second + 1 >= now), "{judged:?}");
    }
}
