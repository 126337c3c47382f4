use proptest::prelude::*;

use super::*;

const WALL: i64 = 1_800_000_000;

fn at(seconds: u64) -> Boottime {
    Boottime::new(Duration::from_secs(seconds))
}

fn wall(seconds: u64) -> Timestamp {
    Timestamp::from_second(WALL + seconds as i64).unwrap()
}

/// The API server's lease: a version that counts up, and its content.
#[derive(Clone, Debug, Default)]
struct Server {
    version: u64,
    record: Option<LeaseRecord>,
}

impl Server {
    fn read(&self) -> Option<Seen> {
        self.record.clone().map(|record| Seen { version: self.version.to_string(), record })
    }

    fn write(&mut self, over: Option<&str>, record: LeaseRecord) -> Option<Seen> {
        let present = self.record.is_some().then(|| self.version.to_string());
        if present.as_deref() != over {
            return None;
        }
        self.version += 1;
        self.record = Some(record);
        self.read()
    }
}

/// One read of a candidate, and the write if it decides on one. Returns whether it leads now.
fn stand(elector: &mut Elector, server: &mut Server, seconds: u64) -> bool {
    let seen = server.read();
    let version = seen.as_ref().map(|seen| seen.version.clone());
    let record = match elector.look(seen, at(seconds), wall(seconds)) {
        Next::Create(record) | Next::Take(record) => record,
        Next::Wait(_) => return false,
    };
    elector.record_request(record.clone());
    let written = server.write(version.as_deref(), record).expect("nobody came in between");
    elector.accepted(written, at(seconds));
    true
}

fn renew(elector: &mut Elector, server: &mut Server, seconds: u64) -> RenewalOutcome {
    let next = elector.renewal(wall(seconds)).expect("it leads");
    elector.record_request(next.record.clone());
    match server.write(Some(&next.version), next.record) {
        Some(written) => {
            elector.accepted(written, at(seconds));
            RenewalOutcome::Renewed
        }
        None => elector.examine(server.read(), at(seconds)),
    }
}

fn elector(name: &str) -> Elector {
    Elector::new(name.to_owned())
}

#[test]
fn a_missing_lease_is_created() {
    let (mut one, mut server) = (elector("one"), Server::default());
    assert!(stand(&mut one, &mut server, 5));
    let record = server.record.unwrap();
    assert_eq!(record.holder, "one");
    assert_eq!(record.duration, LEASE_DURATION);
    assert_eq!((record.acquired, record.renewed), (Some(wall(5)), Some(wall(5))));
    assert_eq!(record.transitions, 0);
}

#[test]
fn a_renewal_keeps_when_it_was_acquired_and_the_count_of_transitions() {
    let (mut one, mut server) = (elector("one"), Server::default());
    stand(&mut one, &mut server, 5);
    assert_eq!(renew(&mut one, &mut server, 7), RenewalOutcome::Renewed);
    let record = server.record.unwrap();
    assert_eq!((record.acquired, record.renewed, record.transitions), (Some(wall(5)), Some(wall(7)), 0));
}

#[test]
fn a_candidate_waits_for_the_lease_duration_since_it_saw_the_last_change() {
    let (mut one, mut two, mut server) = (elector("one"), elector("two"), Server::default());
    stand(&mut one, &mut server, 0);
    assert_eq!(two.look(server.read(), at(100), wall(0)), Next::Wait(at(115)), "from its own first look");
    renew(&mut one, &mut server, 2);
    assert_eq!(two.look(server.read(), at(110), wall(0)), Next::Wait(at(125)), "from the last change");
    assert_eq!(two.look(server.read(), at(124), wall(0)), Next::Wait(at(125)), "which a look without one leaves");
    let Next::Take(record) = two.look(server.read(), at(125), wall(9)) else { panic!("it has expired") };
    assert_eq!((record.holder.as_str(), record.transitions, record.acquired), ("two", 1, Some(wall(9))));
}

#[test]
fn the_times_in_the_record_prove_nothing() {
    let (mut two, mut server) = (elector("two"), Server::default());
    let ancient = LeaseRecord {
        holder: "one".to_owned(),
        duration: LEASE_DURATION,
        acquired: Some(Timestamp::UNIX_EPOCH),
        renewed: Some(Timestamp::UNIX_EPOCH),
        transitions: 3,
    };
    server.write(None, ancient);
    assert_eq!(two.look(server.read(), at(50), wall(0)), Next::Wait(at(65)));
}

#[test]
fn a_candidate_that_slept_past_the_expiry_sees_the_renewal_first() {
    let (mut one, mut two, mut server) = (elector("one"), elector("two"), Server::default());
    stand(&mut one, &mut server, 0);
    two.look(server.read(), at(0), wall(0));
    renew(&mut one, &mut server, 3_000);
    assert_eq!(two.look(server.read(), at(3_600), wall(3_600)), Next::Wait(at(3_615)));
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let (mut one, mut two, mut server) = (elector("one"), elector("two"), Server::default());
    stand(&mut one, &mut server, 0);
    assert!(!stand(&mut two, &mut server, 1));
    let release = one.release(wall(2)).unwrap();
    assert_eq!(release.record.holder, "");
    assert_eq!(release.record.duration, Duration::from_secs(1));
    server.write(Some(&release.version), release.record).unwrap();
    assert!(stand(&mut two, &mut server, 2));
    assert_eq!(server.record.unwrap().transitions, 1);
}

#[test]
fn a_restarted_process_takes_the_lease_with_its_identity_at_once() {
    let (mut before, mut server) = (elector("one"), Server::default());
    stand(&mut before, &mut server, 0);
    let mut after = elector("one");
    assert!(stand(&mut after, &mut server, 1));
    let record = server.record.unwrap();
    assert_eq!((record.transitions, record.acquired), (0, Some(wall(0))), "it is the same holder");
}

#[test]
fn the_older_of_two_with_one_identity_steps_down_and_does_not_take_the_lease_back() {
    let (mut old, mut new, mut server) = (elector("one"), elector("one"), Server::default());
    stand(&mut old, &mut server, 0);
    assert!(stand(&mut new, &mut server, 1));
    assert_eq!(renew(&mut old, &mut server, 2), RenewalOutcome::Lost);
    assert_eq!(old.renewal(wall(2)), None, "it holds nothing any more");
    assert!(!stand(&mut old, &mut server, 2));
    assert_eq!(renew(&mut new, &mut server, 3), RenewalOutcome::Renewed);
    assert!(!stand(&mut old, &mut server, 4));
    assert!(!stand(&mut old, &mut server, 18), "15 s from the change that it saw at 4");
    assert!(stand(&mut old, &mut server, 19), "and takes over like anybody when the other is dead");
}

#[test]
fn a_new_process_waits_once_it_sees_another_with_its_identity_renew() {
    let (mut old, mut new, mut server) = (elector("one"), elector("one"), Server::default());
    stand(&mut old, &mut server, 0);
    // Its write is too late because the other has renewed.
    assert!(matches!(new.look(server.read(), at(1), wall(1)), Next::Take(_)));
    renew(&mut old, &mut server, 2);
    assert_eq!(new.look(server.read(), at(3), wall(3)), Next::Wait(at(18)));
}

#[test]
fn any_change_of_the_lease_by_others_ends_the_term() {
    let restored = LeaseRecord {
        holder: "one".to_owned(),
        duration: LEASE_DURATION,
        acquired: Some(wall(0)),
        renewed: Some(wall(0)),
        transitions: 0,
    };
    for (what, record) in [
        ("another holder", Some(LeaseRecord { holder: "two".to_owned(), ..restored.clone() })),
        ("an older record of its own, as a restored backup shows", Some(restored.clone())),
        ("released by a person", Some(LeaseRecord { holder: String::new(), ..restored })),
        ("deleted", None),
    ] {
        let (mut one, mut server) = (elector("one"), Server::default());
        stand(&mut one, &mut server, 0);
        renew(&mut one, &mut server, 2);
        server.version += 40;
        server.record = record;
        assert_eq!(renew(&mut one, &mut server, 4), RenewalOutcome::Lost, "{what}");
        assert_eq!(one.renewal(wall(5)), None, "{what}");
    }
}

#[test]
fn a_renewal_whose_answer_was_lost_is_recognised_and_an_unwritten_one_is_not() {
    let (mut one, mut server) = (elector("one"), Server::default());
    stand(&mut one, &mut server, 0);
    let next = one.renewal(wall(2)).unwrap();
    one.record_request(next.record.clone());
    assert_eq!(one.examine(server.read(), at(3)), RenewalOutcome::StillHeld, "it was not written");
    server.write(Some(&next.version), next.record).unwrap();
    assert_eq!(one.examine(server.read(), at(4)), RenewalOutcome::Renewed, "now it was");
    assert_eq!(renew(&mut one, &mut server, 5), RenewalOutcome::Renewed);
}

#[test]
fn a_holder_that_could_not_renew_retakes_its_own_lease_at_once_after_an_outage() {
    let (mut one, mut server) = (elector("one"), Server::default());
    stand(&mut one, &mut server, 0);
    // The last renewal before the outage was written, and its answer lost.
    let next = one.renewal(wall(2)).unwrap();
    one.record_request(next.record.clone());
    server.write(Some(&next.version), next.record).unwrap();
    assert!(stand(&mut one, &mut server, 60));
    assert_eq!(server.record.unwrap().transitions, 0);
}

#[test]
fn nobody_may_act_once_the_renew_deadline_has_passed() {
    assert!(may_act(at(100), at(109)));
    assert!(!may_act(at(100), at(110)));
    assert!(!may_act(at(100), at(5_000)));
}

#[test]
fn a_candidate_never_waits_longer_than_the_retry_period() {
    assert_eq!(look_pause(0.0), RETRY_PERIOD);
    assert_eq!(look_pause(1.0), Duration::from_millis(1_500));
    assert_eq!(look_pause(-3.0), RETRY_PERIOD);
}

/// An event for the processes, which all have different identities.
#[derive(Clone, Debug)]
enum Move {
    /// Some time passes.
    Wait(u64),
    /// A process does its next step: it reads or renews.
    Turn(usize),
    /// A process sends a request whose answer is lost; the server may or may not have written it.
    Lost(usize, bool),
    /// A process was frozen with a request in flight, which arrives only now.
    Late(usize),
    /// A process restarts with the same identity.
    Restart(usize),
    /// A person edits or deletes the lease.
    Meddle(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (1..6_u64).prop_map(Move::Wait),
        6 => (0..4_usize).prop_map(Move::Turn),
        2 => (0..4_usize, any::<bool>()).prop_map(|(who, written)| Move::Lost(who, written)),
        1 => (0..4_usize).prop_map(Move::Late),
        1 => (1..4_usize).prop_map(Move::Restart),
        1 => (0..3_u8).prop_map(Move::Meddle),
    ];
    prop::collection::vec(one, 1..120)
}

/// One process: its elector, and when the last accepted renewal of its term was sent.
struct Process {
    elector: Elector,
    leads_since: Option<Boottime>,
    /// A request in flight: the version to replace and the content.
    under_way: Option<(Option<String>, LeaseRecord)>,
}

impl Process {
    fn new(name: &str) -> Self {
        Self { elector: elector(name), leads_since: None, under_way: None }
    }

    /// The request that it would send now.
    fn next(&mut self, server: &Server, now: u64) -> Option<(Option<String>, LeaseRecord)> {
        if self.leads_since.is_some_and(|sent| !may_act(sent, at(now))) {
            self.leads_since = None;
        }
        if self.leads_since.is_some() {
            let next = self.elector.renewal(wall(now)).expect("a leader has something to renew");
            return Some((Some(next.version), next.record));
        }
        let seen = server.read();
        let version = seen.as_ref().map(|seen| seen.version.clone());
        match self.elector.look(seen, at(now), wall(now)) {
            Next::Create(record) | Next::Take(record) => Some((version, record)),
            Next::Wait(_) => None,
        }
    }

    fn turn(&mut self, server: &mut Server, now: u64) {
        let Some((over, record)) = self.next(server, now) else { return };
        self.elector.record_request(record.clone());
        match server.write(over.as_deref(), record) {
            Some(written) => {
                self.elector.accepted(written, at(now));
                self.leads_since = Some(at(now));
            }
            None if self.leads_since.is_some() => match self.elector.examine(server.read(), at(now)) {
                RenewalOutcome::Lost => self.leads_since = None,
                // The time of sending is not known any more, so it does not count as a renewal now.
                RenewalOutcome::StillHeld | RenewalOutcome::Renewed => {}
            },
            None => {}
        }
    }
}

proptest! {
    /// At most one of the processes may act at any time, whatever is lost, late or frozen. The exception is a person
    /// who edits the lease: the holder notices that at its next renewal.
    #[test]
    fn at_most_one_may_act(moves in moves()) {
        let mut server = Server::default();
        let names = ["one", "two", "three", "four"];
        let mut processes: Vec<_> = names.iter().map(|name| Process::new(name)).collect();
        let mut now = 1_000;
        for step in moves {
            match step {
                Move::Wait(seconds) => now += seconds,
                Move::Turn(who) => processes[who].turn(&mut server, now),
                Move::Lost(who, written) => {
                    if let Some((over, record)) = processes[who].next(&server, now) {
                        processes[who].elector.record_request(record.clone());
                        if written {
                            server.write(over.as_deref(), record);
                        }
                    }
                }
                Move::Late(who) => match processes[who].under_way.take() {
                    Some((over, record)) => drop(server.write(over.as_deref(), record)),
                    None => {
                        if let Some((over, record)) = processes[who].next(&server, now) {
                            processes[who].elector.record_request(record.clone());
                            processes[who].under_way = Some((over, record));
                        }
                    }
                },
                Move::Restart(who) => processes[who] = Process::new(names[who]),
                Move::Meddle(how) => {
                    // Taken from the holder by hand: it may act until its next renewal or its deadline.
                    now += RENEW_DEADLINE.as_secs();
                    server.version += 1;
                    match (how, &mut server.record) {
                        (0, record) => *record = None,
                        (1, Some(record)) => record.holder = String::new(),
                        (_, Some(record)) => record.holder = "somebody".to_owned(),
                        (_, None) => {}
                    }
                }
            }
            let acting: Vec<_> = processes
                .iter()
                .filter(|process| process.leads_since.is_some_and(|sent| may_act(sent, at(now))))
                .map(|process| process.elector.identity().to_owned())
                .collect();
            prop_assert!(acting.len() <= 1, "{acting:?} all may act");
        }
    }
}
