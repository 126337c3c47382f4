//! When a surplus goes.

use jiff::SignedDuration;

use super::tests::{at, pass, pool};
use super::{Memory, replenish};
use crate::pool::billing::Billing;
use crate::pool::view::Standing;

#[test]
fn a_surplus_goes_after_the_delay_of_the_spec() {
    let mut pool = pool(1, 10, &[(Standing::Ready, 2)]);
    pool.scale_down_delay = SignedDuration::from_secs(300);
    let first = pass(&pool);
    assert!(first.deletes.is_empty());
    assert_eq!(first.look_again_at, Some(at(400)), "300 s after the surplus was seen");
    assert_eq!(replenish(&pool, &first.memory, at(399)).deletes.len(), 0);
    assert_eq!(replenish(&pool, &first.memory, at(400)).deletes.len(), 1);
}

#[test]
fn a_machine_whose_hour_is_paid_is_kept_to_its_end_and_the_one_whose_hour_ends_first_goes() {
    let mut pool = pool(1, 10, &[(Standing::Ready, 2)]);
    let unit = SignedDuration::from_hours(1);
    for (member, launched) in pool.members.iter_mut().zip([-3_000, 0]) {
        member.billing = Some(Billing { launched: at(launched), unit });
    }
    let first = pass(&pool);
    let kept = replenish(&pool, &first.memory, at(200));
    assert_eq!((kept.deletes.len(), kept.look_again_at), (0, Some(at(540))), "60 s before the hour of m0 ends");
    assert_eq!(replenish(&pool, &kept.memory, at(540)).deletes, ["m0"]);
    // A size that a person lowers waits for the end of the paid time, too; a pass that a person asks for does not.
    let before = Memory { sizes: Some((2, 10)), ..Memory::default() };
    assert!(replenish(&pool, &before, at(200)).deletes.is_empty());
    pool.forced = true;
    assert_eq!(replenish(&pool, &before, at(200)).deletes.len(), 1);
}

#[test]
fn a_machine_that_is_billed_by_the_second_goes_before_one_whose_hour_is_paid() {
    let mut pool = pool(1, 10, &[(Standing::Ready, 2)]);
    pool.members[1].billing = Some(Billing { launched: at(0), unit: SignedDuration::from_hours(1) });
    let first = pass(&pool);
    assert_eq!(replenish(&pool, &first.memory, at(200)).deletes, ["m0"]);
}
