//! Tests of the cloud without a server. Time is passed in, so nothing waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::cloud::{Cloud, Creation, ListQuery};
use super::faults::{After, CallFault, MachineFault};
use super::ledger::{Call, Method, Outcome};
use super::ledger::{Entry, State, What};
use super::wire::{
    CreateInstance, ErrorClass, Instance, InterruptionReason, Market, Phase, ResetInstance, StopInstance,
};
use super::{AgentOptions, Options, ProgramOptions};

/// A stop without hibernation.
const OFF: StopInstance = StopInstance { hibernate: false };

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_millis(milliseconds)
}

fn cloud() -> Cloud {
    let options = Options {
        seed: 7,
        shutdown: Duration::from_millis(500),
        status_check: Duration::from_millis(200),
        terminated_visible: Duration::from_mins(1),
        ..Options::default()
    };
    Cloud::new(options, at(0))
}

fn request(token: &str) -> CreateInstance {
    CreateInstance {
        token: token.to_owned(),
        region: "r1".to_owned(),
        zone: "r1-a".to_owned(),
        market: Market::OnDemand,
        instance_type: "small".to_owned(),
        image: "img-1".to_owned(),
        user_data: None,
        user_data_base64: None,
        tags: BTreeMap::from([("team".to_owned(), "web".to_owned())]),
        boot_milliseconds: 1000,
        boot_jitter_percent: 0,
    }
}

fn create(cloud: &mut Cloud, now: i64, request: &CreateInstance) -> Instance {
    cloud.create(at(now), request).unwrap().1
}

fn entries(cloud: &Cloud) -> Vec<Entry> {
    let (_, text) = cloud.ledger().read(0, u64::MAX, usize::MAX).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn states(cloud: &Cloud, id: &str) -> Vec<(State, Timestamp)> {
    let events = entries(cloud).into_iter().filter_map(|entry| match entry.what {
        What::Machine(event) if event.id == id => Some((event.event, entry.time)),
        _ => None,
    });
    events.collect()
}

#[test]
fn a_machine_changes_its_state_on_time_without_any_calls() {
    let mut cloud = cloud();
    let made = create(&mut cloud, 0, &request("a"));
    assert_eq!((made.phase, made.ready, made.addresses.len()), (Phase::Pending, false, 1));
    cloud.terminate(at(5000), &made.id, None).unwrap();
    cloud.advance(at(1_000_000));
    let expected = [
        (State::Created, at(0)),
        (State::Running, at(1000)),
        (State::Ready, at(1200)),
        (State::ShuttingDown, at(5000)),
        (State::Terminated, at(5500)),
        (State::Forgotten, at(65_500)),
    ];
    assert_eq!(states(&cloud, &made.id), expected);
    assert_eq!(cloud.get(at(1_000_000), &made.id, None).unwrap_err().class, ErrorClass::NotFound);
}

#[test]
fn a_machine_runs_before_its_checks_pass_and_keeps_its_address_until_it_is_terminated() {
    let mut cloud = cloud();
    let id = create(&mut cloud, 0, &request("a")).id;
    let mut look = |now| {
        let instance = cloud.get(at(now), &id, None).unwrap();
        (instance.phase, instance.ready, instance.boot_time, instance.addresses.len())
    };
    assert_eq!(look(999), (Phase::Pending, false, None, 1));
    assert_eq!(look(1000), (Phase::Running, false, Some(at(1000)), 1));
    assert_eq!(look(1200), (Phase::Running, true, Some(at(1000)), 1));
    cloud.terminate(at(2000), &id, None).unwrap();
    let mut look = |now| {
        let instance = cloud.get(at(now), &id, None).unwrap();
        (instance.phase, instance.ready, instance.addresses.len())
    };
    assert_eq!(look(2499), (Phase::ShuttingDown, false, 1));
    assert_eq!(look(2500), (Phase::Terminated, false, 0));
}

#[test]
fn a_machine_terminated_while_it_boots_never_runs() {
    let mut cloud = cloud();
    let id = create(&mut cloud, 0, &request("a")).id;
    cloud.terminate(at(900), &id, None).unwrap();
    cloud.terminate(at(1100), &id, None).unwrap();
    cloud.advance(at(10_000));
    let expected = [(State::Created, at(0)), (State::ShuttingDown, at(900)), (State::Terminated, at(1400))];
    assert_eq!(states(&cloud, &id), expected);
}

#[test]
fn a_repeated_token_returns_its_machine_in_its_present_state_even_after_it_was_forgotten() {
    let mut cloud = cloud();
    let made = create(&mut cloud, 0, &request("a"));
    let again = |cloud: &mut Cloud, now| cloud.create(at(now), &request("a")).unwrap();
    assert_eq!(again(&mut cloud, 1), (Creation::Existing, made.clone()));
    cloud.terminate(at(2000), &made.id, None).unwrap();
    for now in [3000, 1_000_000] {
        let (creation, instance) = again(&mut cloud, now);
        assert_eq!((creation, instance.phase), (Creation::Existing, Phase::Terminated));
        assert_eq!((instance.id, instance.launch_time), (made.id.clone(), made.launch_time));
    }
    assert_eq!(cloud.machines(), 0);
}

#[test]
fn a_token_with_another_request_is_refused_as_used() {
    let mut cloud = cloud();
    create(&mut cloud, 0, &request("a"));
    let other = CreateInstance { zone: "r1-b".to_owned(), ..request("a") };
    let refusal = cloud.create(at(1), &other).unwrap_err();
    assert_eq!((refusal.class, refusal.token_used), (ErrorClass::Invalid, true));
    assert!(refusal.message.starts_with("token: "), "{}", refusal.message);
}

#[test]
fn an_invalid_field_is_refused_and_named() {
    let mut cloud = cloud();
    let tags = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let wrong = [
        ("token", request("")),
        ("token", request("a\nb")),
        ("region", CreateInstance { region: String::new(), ..request("a") }),
        ("zone", CreateInstance { zone: "z".repeat(129), ..request("a") }),
        ("instanceType", CreateInstance { instance_type: String::new(), ..request("a") }),
        ("image", CreateInstance { image: String::new(), ..request("a") }),
        ("userData", CreateInstance { user_data: Some("x".repeat(256 * 1024 + 1)), ..request("a") }),
        ("userDataBase64", CreateInstance { user_data_base64: Some("a b".into()), ..request("a") }),
        ("tags", CreateInstance { tags: tags("", "x"), ..request("a") }),
        ("tags", CreateInstance { tags: tags("a=b", "x"), ..request("a") }),
        ("tags", CreateInstance { tags: tags("a", &"x".repeat(257)), ..request("a") }),
        ("bootMilliseconds", CreateInstance { boot_milliseconds: u32::MAX, ..request("a") }),
        ("bootJitterPercent", CreateInstance { boot_jitter_percent: 101, ..request("a") }),
    ];
    for (field, request) in wrong {
        let refusal = cloud.create(at(0), &request).unwrap_err();
        assert_eq!((refusal.class, refusal.token_used), (ErrorClass::Invalid, false));
        assert!(refusal.message.starts_with(field), "{field}: {}", refusal.message);
    }
    assert_eq!(cloud.machines(), 0);
}

#[test]
fn a_machine_is_not_found_from_another_region() {
    let mut cloud = cloud();
    let id = create(&mut cloud, 0, &request("a")).id;
    assert_eq!(cloud.terminate(at(1), &id, Some("r2")).unwrap_err().class, ErrorClass::NotFound);
    assert_eq!(cloud.get(at(2), &id, Some("r1")).unwrap().phase, Phase::Pending);
}

#[test]
fn pages_have_every_machine_once_in_the_order_of_creation_even_if_one_is_forgotten_in_between() {
    let mut cloud = cloud();
    let ids: Vec<_> = (0..7).map(|n| create(&mut cloud, n, &request(&format!("t{n}"))).id).collect();
    create(&mut cloud, 10, &CreateInstance { region: "r2".to_owned(), ..request("elsewhere") });
    let mut query = ListQuery {
        region: Some("r1".to_owned()),
        tags: vec![("team".to_owned(), "web".to_owned())],
        limit: Some(3),
        ..ListQuery::default()
    };
    let mut seen = Vec::new();
    cloud.terminate(at(20), &ids[2], None).unwrap();
    for now in [30, 100_000, 100_001] {
        let page = cloud.list(at(now), &query);
        seen.extend(page.items.into_iter().map(|instance| instance.id));
        query.after = page.next.map(|next| next.parse().unwrap());
    }
    assert_eq!((seen, query.after), (ids, None));
    let query = ListQuery { tags: vec![("team".to_owned(), "db".to_owned())], ..ListQuery::default() };
    assert_eq!(cloud.list(at(100_002), &query).items, []);
}

#[test]
fn ids_and_boot_times_depend_on_the_seed_alone() {
    let boots = |seed| {
        let mut cloud = Cloud::new(Options { seed, ..Options::default() }, at(0));
        let jittered = |n| CreateInstance { boot_jitter_percent: 50, ..request(&format!("t{n}")) };
        let ids: Vec<_> = (0..20).map(|n| create(&mut cloud, 0, &jittered(n)).id).collect();
        cloud.advance(at(10_000));
        let boots: Vec<_> = ids.iter().map(|id| cloud.get(at(10_000), id, None).unwrap().boot_time.unwrap()).collect();
        assert!(boots.iter().all(|boot| (at(500)..=at(1500)).contains(boot)), "{boots:?}");
        assert!(boots.iter().collect::<BTreeSet<_>>().len() > 10);
        (ids, boots)
    };
    assert_eq!(boots(1), boots(1));
    assert_ne!(boots(1).0, boots(2).0);
    assert_ne!(boots(1).1, boots(2).1);
}

#[test]
fn a_clock_that_is_set_back_stands_still() {
    let mut cloud = cloud();
    let id = create(&mut cloud, 5000, &request("a")).id;
    assert_eq!(create(&mut cloud, 0, &request("b")).launch_time, at(5000));
    assert_eq!(cloud.get(at(6000), &id, None).unwrap().phase, Phase::Running);
}

#[derive(Clone, Debug)]
enum Op {
    Create(u8, bool),
    Terminate(u8),
    List,
}

fn operations() -> impl Strategy<Value = Vec<(u16, Op)>> {
    let operation = prop_oneof![
        3 => (0..12u8, prop::bool::weighted(0.1)).prop_map(|(token, other)| Op::Create(token, other)),
        3 => (0..12u8).prop_map(Op::Terminate),
        1 => Just(Op::List),
    ];
    prop::collection::vec((0..800u16, operation), 1..80)
}

/// Runs the operations, and calls `check` with the time in milliseconds after each.
fn play(cloud: &mut Cloud, operations: &[(u16, Op)], mut check: impl FnMut(&mut Cloud, i64)) {
    let mut now = 0;
    let mut ids = HashMap::new();
    for (pause, operation) in operations {
        now += i64::from(*pause);
        match operation {
            Op::Create(token, other) => {
                let image = if *other { "img-2" } else { "img-1" }.to_owned();
                let request = CreateInstance { image, boot_jitter_percent: 90, ..request(&format!("t{token}")) };
                if let Ok((_, instance)) = cloud.create(at(now), &request) {
                    ids.insert(*token, instance.id);
                }
            }
            Op::Terminate(token) => {
                if let Some(id) = ids.get(token) {
                    let _ = cloud.terminate(at(now), id, None);
                }
            }
            Op::List => drop(cloud.list(at(now), &ListQuery::default())),
        }
        check(cloud, now);
    }
    cloud.advance(at(now + 1_000_000));
}

/// A cloud that forgets machines a second after their end, so that tokens outlive them, and that has fewer addresses
/// than there are tokens.
fn forgetful() -> Cloud {
    let options = Options { seed: 7, terminated_visible: Duration::from_secs(1), ..Options::default() };
    Cloud::with_addresses(options, at(0), 5)
}

#[test]
fn without_a_free_address_a_create_is_refused_and_its_token_stays_unused() {
    let mut cloud = forgetful();
    let ids: Vec<_> = (0..5).map(|n| create(&mut cloud, 0, &request(&format!("t{n}"))).id).collect();
    assert_eq!(cloud.create(at(1), &request("late")).unwrap_err().class, ErrorClass::Quota);
    cloud.terminate(at(2), &ids[3], None).unwrap();
    assert_eq!(cloud.create(at(3), &request("late")).unwrap_err().class, ErrorClass::Quota);
    let (creation, instance) = cloud.create(at(1000), &request("late")).unwrap();
    assert_eq!((creation, instance.addresses[0].address.as_str()), (Creation::Created, "10.0.0.4"));
}

proptest! {
    #[test]
    fn an_address_has_one_live_machine(operations in operations()) {
        play(&mut forgetful(), &operations, |cloud, now| {
            let items = cloud.list(at(now), &ListQuery::default()).items;
            let live: Vec<_> = items.into_iter().filter(|item| item.phase != Phase::Terminated).collect();
            let addresses: BTreeSet<_> = live.iter().map(|item| item.addresses[0].address.clone()).collect();
            assert_eq!(addresses.len(), live.len());
        });
    }

    #[test]
    fn one_token_never_makes_two_machines(operations in operations()) {
        let mut cloud = forgetful();
        play(&mut cloud, &operations, |_, _| {});
        let created = entries(&cloud).into_iter().filter_map(|entry| match entry.what {
            What::Machine(event) if event.event == State::Created => Some(event.token),
            _ => None,
        });
        let created: Vec<_> = created.collect();
        prop_assert_eq!(created.iter().collect::<BTreeSet<_>>().len(), created.len());
    }

    #[test]
    fn ledger_numbers_have_no_gaps_times_are_ordered_and_no_machine_skips_or_repeats_a_state(
        operations in operations(),
    ) {
        let mut cloud = forgetful();
        play(&mut cloud, &operations, |_, _| {});
        let entries = entries(&cloud);
        let numbers: Vec<_> = entries.iter().map(|entry| entry.sequence).collect();
        prop_assert_eq!(numbers, (1..=entries.len() as u64).collect::<Vec<_>>());
        prop_assert!(entries.is_sorted_by_key(|entry| entry.time));
        let mut last = HashMap::new();
        for entry in entries {
            let What::Machine(event) = entry.what else { continue };
            let follows = match (last.insert(event.id, event.event), event.event) {
                (None, next) => next == State::Created,
                (Some(State::Created), next) => matches!(next, State::Running | State::ShuttingDown),
                (Some(State::Running), next) => matches!(next, State::Ready | State::ShuttingDown),
                (Some(State::Ready), next) => next == State::ShuttingDown,
                (Some(State::ShuttingDown), next) => next == State::Terminated,
                (Some(State::Terminated), next) => next == State::Forgotten,
                (Some(_), _) => false,
            };
            prop_assert!(follows);
        }
    }
}

#[test]
fn tags_are_added_or_replaced_and_the_token_still_returns_its_machine() {
    let mut cloud = cloud();
    let made = create(&mut cloud, 0, &request("a"));
    let tags =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let wanted: BTreeMap<String, String> = tags(&[("team", "ops"), ("claim", "c-1")]);
    let tagged = cloud.tag(at(10), &made.id, Some("r1"), &wanted).unwrap();
    assert_eq!(tagged.tags, wanted);
    assert_eq!(cloud.create(at(20), &request("a")).unwrap().1.tags, wanted);
    assert_eq!(cloud.tag(at(30), "i-none", None, &wanted).unwrap_err().class, ErrorClass::NotFound);
    let many: BTreeMap<_, _> = (0..49).map(|number| (format!("k{number}"), String::new())).collect();
    assert_eq!(cloud.tag(at(40), &made.id, None, &many).unwrap_err().class, ErrorClass::Invalid);
    assert_eq!(cloud.get(at(50), &made.id, None).unwrap().tags, wanted, "and nothing changed");
}

fn reset(
    cloud: &mut Cloud,
    now: i64,
    id: &str,
    token: &str,
    fault: Option<&CallFault>,
) -> Result<Instance, ErrorClass> {
    let request =
        ResetInstance { token: token.to_owned(), user_data: Some(format!("for {token}")), user_data_base64: None };
    cloud.reset(at(now), id, Some("r1"), &request, fault).map_err(|refusal| refusal.class)
}

#[test]
fn a_reset_boots_the_machine_anew_once_for_each_token_and_shows_the_last_that_is_done() {
    let mut cloud = cloud();
    let made = create(&mut cloud, 0, &request("a"));
    assert_eq!(reset(&mut cloud, 500, &made.id, "u.1", None), Err(ErrorClass::Invalid), "it boots");
    let begun = reset(&mut cloud, 2_000, &made.id, "u.1", None).unwrap();
    assert_eq!((begun.phase, begun.ready, begun.boot_time, begun.last_reset), (Phase::Pending, false, None, None));
    assert_eq!(cloud.user_data(at(2_100), &made.id).unwrap().user_data.as_deref(), Some("for u.1"));
    let done = cloud.get(at(2_300), &made.id, None).unwrap();
    let shown = done.last_reset.unwrap();
    assert_eq!((done.phase, shown.token.as_str(), shown.booted_at), (Phase::Running, "u.1", at(2_300)));
    assert_eq!((done.boot_time, done.addresses, done.tags), (Some(at(2_300)), made.addresses, made.tags));
    reset(&mut cloud, 3_000, &made.id, "u.2", None).unwrap();
    for token in ["u.1", "u.2"] {
        let again = reset(&mut cloud, 4_000, &made.id, token, None).unwrap();
        assert_eq!((again.phase, again.last_reset.unwrap().token.as_str()), (Phase::Running, "u.2"), "{token}");
    }
    let other = ResetInstance { token: "u.1".to_owned(), user_data: None, user_data_base64: None };
    assert!(cloud.reset(at(4_100), &made.id, None, &other, None).unwrap_err().token_used);
    let resets = entries(&cloud).into_iter().filter_map(|entry| match entry.what {
        What::Call(Call { method: Method::Reset, outcome, .. }) => Some(outcome),
        _ => None,
    });
    let invalid = Outcome::Refused(ErrorClass::Invalid);
    let (accepted, existing) = (Outcome::Accepted, Outcome::Existing);
    assert_eq!(resets.collect::<Vec<_>>(), [invalid, accepted, accepted, existing, existing, invalid]);
    cloud.terminate(at(5_000), &made.id, None).unwrap();
    assert_eq!(reset(&mut cloud, 5_100, &made.id, "u.3", None), Err(ErrorClass::Invalid));
    assert_eq!(reset(&mut cloud, 5_200, "i-none", "u.3", None), Err(ErrorClass::NotFound));
}

#[test]
fn a_reset_that_is_ignored_or_lingers_is_accepted_and_shows_nothing() {
    let mut cloud = cloud();
    let made = create(&mut cloud, 0, &request("a"));
    let ignored = reset(&mut cloud, 2_000, &made.id, "u.1", Some(&CallFault::Ignored {})).unwrap();
    assert_eq!((ignored.phase, ignored.ready), (Phase::Running, true));
    let lingers = CallFault::Lingers { milliseconds: None };
    assert_eq!(reset(&mut cloud, 3_000, &made.id, "u.2", Some(&lingers)).unwrap().phase, Phase::Pending);
    let later = cloud.get(at(1_000_000), &made.id, None).unwrap();
    assert_eq!((later.phase, later.last_reset), (Phase::Pending, None));
}

#[test]
fn a_stopped_machine_starts_again_with_the_same_address_and_a_later_boot() {
    let mut cloud = cloud();
    let made = create(&mut cloud, 0, &request("a"));
    assert_eq!(cloud.stop(at(500), &made.id, None, OFF, None).unwrap_err().class, ErrorClass::Invalid, "it boots");
    assert_eq!(cloud.stop(at(2_000), &made.id, None, OFF, None).unwrap().phase, Phase::Stopping);
    assert_eq!(cloud.start(at(2_100), &made.id, None, None).unwrap_err().class, ErrorClass::Invalid, "not stopped yet");
    let stopped = cloud.get(at(2_500), &made.id, None).unwrap();
    assert_eq!((stopped.phase, stopped.ready, &stopped.addresses), (Phase::Stopped, false, &made.addresses));
    assert_eq!(cloud.stop(at(2_600), &made.id, None, OFF, None).unwrap().phase, Phase::Stopped, "again");
    assert_eq!(cloud.start(at(3_000), &made.id, None, None).unwrap().phase, Phase::Pending);
    let runs = cloud.get(at(4_000), &made.id, None).unwrap();
    assert_eq!((runs.phase, runs.ready, runs.boot_time), (Phase::Running, false, Some(at(4_000))));
    assert_eq!((runs.launch_time, runs.addresses), (made.launch_time, made.addresses));
    assert_eq!(cloud.start(at(4_100), &made.id, None, None).unwrap().phase, Phase::Running, "again");
    let leaving = entries(&cloud)
        .into_iter()
        .any(|entry| matches!(entry.what, What::Call(Call { leaving, .. }) if !leaving.is_empty()));
    assert!(!leaving, "somebody has asked it to stop");
    cloud.stop(at(5_000), &made.id, None, OFF, None).unwrap();
    assert_eq!(cloud.terminate(at(5_100), &made.id, None).unwrap().phase, Phase::ShuttingDown);
    assert_eq!(cloud.get(at(6_000), &made.id, None).unwrap().phase, Phase::Terminated);
    assert_eq!(cloud.start(at(6_100), &made.id, None, None).unwrap_err().class, ErrorClass::Invalid);
}

#[test]
fn a_hibernated_machine_goes_on_sooner_than_a_stopped_one_starts_and_listens_at_once() {
    let agent = Some(AgentOptions { port: 80, start: Duration::from_secs(5) });
    let mut cloud = Cloud::new(Options { agent, seed: 1, ..Options::default() }, at(0));
    let made = create(&mut cloud, 0, &request("a"));
    let listens = |cloud: &mut Cloud, now: i64| !cloud.listening(at(now)).is_empty();
    assert!(!listens(&mut cloud, 5_900) && listens(&mut cloud, 6_000));
    let stopping = cloud.stop(at(10_000), &made.id, None, StopInstance { hibernate: true }, None).unwrap();
    assert_eq!((stopping.phase, stopping.hibernated), (Phase::Stopping, true));
    assert!(!listens(&mut cloud, 11_000));
    cloud.start(at(20_000), &made.id, None, None).unwrap();
    let runs = cloud.get(at(20_500), &made.id, None).unwrap();
    assert_eq!((runs.phase, runs.boot_time), (Phase::Running, Some(at(20_500))));
    assert!(listens(&mut cloud, 20_500), "what ran before goes on");
    cloud.stop(at(30_000), &made.id, None, OFF, None).unwrap();
    cloud.start(at(40_000), &made.id, None, None).unwrap();
    let runs = cloud.get(at(41_000), &made.id, None).unwrap();
    assert_eq!((runs.phase, runs.hibernated, runs.boot_time), (Phase::Running, false, Some(at(41_000))));
    assert!(!listens(&mut cloud, 45_900) && listens(&mut cloud, 46_000));
    let program = Some(ProgramOptions { program: "p".into(), folder: "f".into() });
    let mut cloud = Cloud::new(Options { program, seed: 1, ..Options::default() }, at(0));
    let made = create(&mut cloud, 0, &request("a"));
    let refused = cloud.stop(at(10_000), &made.id, None, StopInstance { hibernate: true }, None).unwrap_err();
    assert_eq!(refused.class, ErrorClass::Invalid);
    assert_eq!(cloud.get(at(10_000), &made.id, None).unwrap().phase, Phase::Running);
}

#[test]
fn a_stop_or_start_that_is_ignored_or_lingers_is_accepted_and_shows_nothing() {
    let mut cloud = cloud();
    let made = create(&mut cloud, 0, &request("a"));
    let (ignored, lingers) = (CallFault::Ignored {}, CallFault::Lingers { milliseconds: Some(60_000) });
    assert_eq!(cloud.stop(at(2_000), &made.id, None, OFF, Some(&ignored)).unwrap().phase, Phase::Running);
    assert_eq!(cloud.stop(at(2_100), &made.id, None, OFF, Some(&lingers)).unwrap().phase, Phase::Stopping);
    assert_eq!(cloud.get(at(62_000), &made.id, None).unwrap().phase, Phase::Stopping);
    assert_eq!(cloud.get(at(62_100), &made.id, None).unwrap().phase, Phase::Stopped);
    assert_eq!(cloud.start(at(70_000), &made.id, None, Some(&ignored)).unwrap().phase, Phase::Stopped);
    assert_eq!(cloud.start(at(70_000), &made.id, None, Some(&lingers)).unwrap().phase, Phase::Pending);
    assert_eq!(cloud.get(at(130_000), &made.id, None).unwrap().phase, Phase::Running);
}

#[test]
fn the_ledger_names_the_machines_that_an_answer_showed_leaving_unless_somebody_asked_them_to_end() {
    let mut cloud = cloud();
    let made: Vec<_> = ["a", "b", "c", "d"].map(|token| create(&mut cloud, 0, &request(token)).id).into();
    cloud.inflict(at(2_000), &made[0], &MachineFault::Stops(After::default())).unwrap();
    let reason = InterruptionReason::Maintenance;
    let notice = MachineFault::Interrupted { notice: After::default(), milliseconds: 9_000, reason };
    cloud.inflict(at(2_000), &made[1], &notice).unwrap();
    cloud.terminate(at(2_000), &made[2], None).unwrap();
    cloud.list(at(2_100), &ListQuery::default());
    cloud.get(at(2_200), &made[1], None).unwrap();
    cloud.get(at(2_300), &made[3], None).unwrap();
    cloud.terminate(at(2_400), &made[1], None).unwrap();
    cloud.list(at(2_500), &ListQuery::default());
    let shown = entries(&cloud).into_iter().filter_map(|entry| match entry.what {
        What::Call(Call { method: Method::List | Method::Get, count, leaving, .. }) => Some((count, leaving)),
        _ => None,
    });
    let leaving = |places: &[usize]| places.iter().map(|place| made[*place].clone()).collect::<Vec<_>>();
    let expected = [(Some(4), leaving(&[0, 1])), (None, leaving(&[1])), (None, leaving(&[])), (Some(4), leaving(&[0]))];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}
