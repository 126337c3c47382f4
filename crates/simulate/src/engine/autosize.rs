//! The size that the operator would find, from the claims that came so far.

use bullpen_api::InstancePoolSpec;
use bullpen_plan::CreateRate;
use bullpen_plan::pool::autosize::follow::{followed, goal};
use bullpen_plan::pool::autosize::sizer::Sizer;

use crate::time::{Clock, MILLISECOND, Micros};

/// What the operator learns of the pool while the trace is played, if it does.
#[derive(Debug, Default)]
pub struct Autosizer {
    sizer: Option<Sizer>,
    claims: u32,
}

impl Autosizer {
    pub fn new(pool: &InstancePoolSpec, creates: Option<CreateRate>) -> Self {
        Self { sizer: goal(pool, creates).map(Sizer::new), ..Self::default() }
    }

    /// A claim comes.
    pub const fn claim(&mut self) {
        self.claims += 1;
    }

    /// A member became ready, so long after its create was accepted.
    pub fn ready(&mut self, after: Micros) {
        if let Some(sizer) = &mut self.sizer {
            sizer.ready_after(after / MILLISECOND);
        }
    }

    /// The size that the pool follows now, and when to look again.
    pub fn look(
        &mut self,
        pool: &InstancePoolSpec,
        supply: i32,
        (now, clock): (Micros, Clock),
    ) -> Option<(Option<i32>, Micros)> {
        let sizer = self.sizer.as_mut()?;
        sizer.observe(clock.timestamp(now).as_millisecond(), std::mem::take(&mut self.claims));
        if sizer.is_to_learn(&sizer.goal().clone()) {
            sizer.learn_with_measured_lead();
        }
        let size = followed(pool, &sizer.advice());
        sizer.has(if size.is_some() { supply } else { 0 });
        Some((size, now + sizer.look_again_after() * MILLISECOND))
    }
}
