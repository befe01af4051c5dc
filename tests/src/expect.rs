//! What a run must do. Whatever it did beyond that is a failure.

use std::collections::BTreeMap;
use std::fmt::Write;

use netdp_common::{Count, Flow, FlowKey, Reason};

use crate::packet::difference;
use crate::program::{DROP, NEXT, Outcome, REDIRECT, reason_name};

/// Verdict, bytes and change of state that a test declares.
#[derive(Debug, Clone)]
pub struct Expect {
    verdict: i32,
    packet: Option<Vec<u8>>,
    reason: Option<Reason>,
    flows: BTreeMap<FlowKey, Option<Flow>>,
    swept: Option<bool>,
}

impl Expect {
    fn verdict(verdict: i32, reason: Option<Reason>) -> Self {
        Self { verdict, packet: None, reason, flows: BTreeMap::new(), swept: Some(false) }
    }

    /// Dropped, counted once under the reason, told by one event; nothing else.
    pub fn dropped(reason: Reason) -> Self {
        Self::verdict(DROP, Some(reason))
    }

    /// Passed on as it came, and not counted: it is not ours.
    pub fn untouched() -> Self {
        Self::verdict(NEXT, None)
    }

    /// Passed on to the host's stack as it came, and counted as such.
    pub fn slow_path() -> Self {
        Self::verdict(NEXT, Some(Reason::SlowPath))
    }

    /// Passed on, but changed, and counted under the reason.
    pub fn passed(reason: Reason) -> Self {
        Self::verdict(NEXT, Some(reason))
    }

    /// Taken by a redirect helper, and counted under the reason; the answer to one that is dropped is, too.
    pub fn redirected(reason: Reason) -> Self {
        Self::verdict(REDIRECT, Some(reason))
    }

    /// Taken by a redirect helper, and not counted, as it comes in once more.
    pub fn resumed() -> Self {
        Self::verdict(REDIRECT, None)
    }

    /// The frame as it must be afterwards; without this, as it came.
    #[must_use]
    pub fn packet(mut self, bytes: Vec<u8>) -> Self {
        self.packet = Some(bytes);
        self
    }

    /// An entry of the flow table that is new, or has changed to this.
    #[must_use]
    pub fn flow(mut self, key: FlowKey, flow: Flow) -> Self {
        self.flows.insert(key, Some(flow));
        self
    }

    /// An entry of the flow table that is gone.
    #[must_use]
    pub fn forgotten(mut self, key: FlowKey) -> Self {
        self.flows.insert(key, None);
        self
    }

    /// The full flow table was swept.
    #[must_use]
    pub fn swept(mut self) -> Self {
        self.swept = Some(true);
        self
    }

    /// A part of the flow table was swept, unless another packet has just done so.
    #[must_use]
    pub fn swept_or_just_before(mut self) -> Self {
        self.swept = None;
        self
    }

    /// Fails the test with every difference between this and what happened.
    pub fn of(&self, outcome: &Outcome) {
        let mut wrong = String::new();
        if self.verdict != outcome.verdict {
            let _ = writeln!(wrong, "verdict {}, got {}", self.verdict, outcome.verdict);
        }
        let wanted = self.packet.as_ref().unwrap_or(&outcome.given);
        wrong.extend(difference(wanted, &outcome.bytes));
        self.compare_counts(outcome, &mut wrong);
        self.compare_flows(outcome, &mut wrong);
        self.compare_events(outcome, &mut wrong);
        if self.swept.is_some_and(|swept| swept != outcome.change.swept) {
            let _ = writeln!(wrong, "swept {:?}, got {}", self.swept, outcome.change.swept);
        }
        assert!(wrong.is_empty(), "not as declared:\n{wrong}");
    }

    fn compare_counts(&self, outcome: &Outcome, wrong: &mut String) {
        let count = Count { packets: 1, bytes: u64::try_from(outcome.given.len()).unwrap() };
        let wanted: BTreeMap<u32, Count> =
            self.reason.map(|reason| (reason.number(), count)).into_iter().collect();
        let found = &outcome.change.counts;
        if wanted != *found {
            let names = |counts: &BTreeMap<u32, Count>| -> Vec<_> {
                counts.iter().map(|(slot, count)| (reason_name(*slot), *count)).collect()
            };
            let _ = writeln!(wrong, "counted {:?}, got {:?}", names(&wanted), names(found));
        }
    }

    fn compare_flows(&self, outcome: &Outcome, wrong: &mut String) {
        let found = &outcome.change.flows;
        for (key, flow) in &self.flows {
            match found.get(key) {
                None => _ = writeln!(wrong, "flow {key:?}: unchanged, should be {flow:#?}"),
                Some(other) if other != flow => {
                    _ = writeln!(wrong, "flow {key:?}: should be {flow:#?}, is {other:#?}");
                }
                Some(_) => {}
            }
        }
        for (key, flow) in found.iter().filter(|(key, _)| !self.flows.contains_key(*key)) {
            let _ = writeln!(wrong, "undeclared change of flow {key:?}: {flow:#?}");
        }
    }

    fn compare_events(&self, outcome: &Outcome, wrong: &mut String) {
        let wanted = self.reason.filter(|reason| reason.is_drop());
        let length = u32::try_from(outcome.given.len()).unwrap();
        let told: Vec<_> =
            outcome.change.events.iter().map(|e| (e.reason, e.ifindex, e.len, e.pad)).collect();
        let should: Vec<_> =
            wanted.map(|reason| (reason.number(), outcome.ifindex, length, 0)).into_iter().collect();
        if told != should {
            let _ = writeln!(wrong, "events (reason, interface, length, pad) {should:?}, got {told:?}");
        }
    }
}
