//! The flow table, read and cleaned. Entries are made by the programs alone.

use std::collections::HashMap;

use netdp_common::timers::{State, silence, ticks};
use netdp_common::{Flow, FlowKey, names, settings};
use nix::time::{ClockId, clock_gettime};

use super::error::Error;
use super::{Datapath, bulk, link, quota};

/// The entries of the flow table at one moment: a walk over it is the most that the controller does, and serves both the
/// counting and the clearing away.
#[derive(Debug)]
pub struct FlowTable(pub(super) Vec<(FlowKey, Flow)>);

impl FlowTable {
    /// Whether nobody talks to anybody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Datapath {
    /// Every entry of a flow that lives; each flow has one per direction.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn flows(&self) -> Result<Vec<(FlowKey, Flow)>, Error> {
        let (all, rows) = (self.all_flows()?, self.timer_rows()?);
        let now = now();
        Ok(all.iter().filter(|(k, f)| !has_ended(k, f, &all, &rows, now)).map(|(k, f)| (*k, *f)).collect())
    }

    /// Deletes the entries of flows that have ended; says how many.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn sweep(&self, table: FlowTable) -> Result<usize, Error> {
        let all: HashMap<FlowKey, Flow> = table.0.into_iter().collect();
        let rows = self.timer_rows()?;
        let now = now();
        let ended = all.iter().filter(|(k, f)| has_ended(k, f, &all, &rows, now));
        self.delete_flows(ended.map(|(k, f)| (*k, Some(*f))).collect())
    }

    fn all_flows(&self) -> Result<HashMap<FlowKey, Flow>, Error> {
        Ok(self.flow_entries()?.into_iter().collect())
    }

    /// Every entry of the table.
    pub(super) fn flow_entries(&self) -> Result<Vec<(FlowKey, Flow)>, Error> {
        // Refused when the pinned table has other sizes than these.
        self.hash::<FlowKey, Flow>(names::FLOWS)?;
        let path = self.map_path(names::FLOWS);
        let entries = link::open(&path).and_then(|map| bulk::entries(&map));
        entries.map_err(|e| Error::pin("reading", path, e))
    }

    /// Deletes these entries, and gives back what they have cost; says how many there were. `None` where it is not known what an
    /// entry is, or whether it is there.
    pub(super) fn delete_flows(&self, entries: HashMap<FlowKey, Option<Flow>>) -> Result<usize, Error> {
        let mut map = self.hash::<FlowKey, Flow>(names::FLOWS)?;
        let (mut count, mut deleted) = (0, quota::Counts::new());
        for (key, flow) in entries {
            let flow = flow.or_else(|| map.get(&key, 0).ok());
            if map.remove(&key).is_ok() {
                count += 1;
                if let Some(flow) = flow {
                    quota::note(&mut deleted, &flow);
                }
            }
        }
        self.give_back(deleted)?;
        Ok(count)
    }
}

/// The programs' clock, in ticks.
fn now() -> u32 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) else { return 0 };
    ticks(std::time::Duration::from(time).as_nanos().try_into().unwrap_or(u64::MAX))
}

/// As the programs decide it: both directions have been silent for the timeout. `rows` are those of `SETTINGS`.
fn has_ended(key: &FlowKey, flow: &Flow, all: &HashMap<FlowKey, Flow>, rows: &[u32], now: u32) -> bool {
    let silent = |flow: &Flow| {
        let state = State::from_number(flow.state);
        let row = rows.get(usize::from(state.number())).copied().unwrap_or_default();
        silence(flow.seen, now) > settings::timeout(state, row)
    };
    silent(flow) && all.get(&flow.twin_key(key)).is_none_or(silent)
}
