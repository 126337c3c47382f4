//! The whole state graph of a small configuration, for questions about more than one state.

use std::collections::HashMap;

use stateright::Model;

use crate::model::{Protocol, Step};
use crate::state::State;

pub(crate) struct Graph {
    pub(crate) states: Vec<State>,
    /// For each state, its successors by steps that are neither faults nor late writes.
    next: Vec<Vec<usize>>,
}

impl Graph {
    /// Explores all reachable states, including those after faults and late writes.
    pub(crate) fn explore(protocol: &Protocol) -> Self {
        let mut graph = Self { states: protocol.init_states(), next: Vec::new() };
        let mut numbers: HashMap<State, usize> = graph.states.iter().copied().zip(0..).collect();
        while graph.next.len() < graph.states.len() {
            let mut next = Vec::new();
            for (step, state) in protocol.next_steps(&graph.states[graph.next.len()]) {
                let number = *numbers.entry(state).or_insert_with(|| {
                    graph.states.push(state);
                    graph.states.len() - 1
                });
                if !matches!(step, Step::Fault(_) | Step::LandLate { .. }) {
                    next.push(number);
                }
            }
            graph.next.push(next);
        }
        graph
    }

    /// A state from which no state that satisfies `end` can be reached without a fault or a late write.
    pub(crate) fn hopeless(&self, end: impl Fn(&State) -> bool) -> Option<&State> {
        let mut before = vec![Vec::new(); self.states.len()];
        for (state, next) in self.next.iter().enumerate() {
            for next in next {
                before[*next].push(state);
            }
        }
        let mut hope: Vec<bool> = self.states.iter().map(end).collect();
        let mut ahead: Vec<usize> = (0..self.states.len()).filter(|state| hope[*state]).collect();
        while let Some(state) = ahead.pop() {
            for earlier in &before[state] {
                if !std::mem::replace(&mut hope[*earlier], true) {
                    ahead.push(*earlier);
                }
            }
        }
        self.states.iter().zip(hope).find_map(|(state, hope)| (!hope).then_some(state))
    }
}
