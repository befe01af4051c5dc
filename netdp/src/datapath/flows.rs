//! The flow table, read and cleaned. Entries are made by the programs alone.

use std::collections::HashMap;

use netdp_common::timers::{State, ticks};
use netdp_common::{Flow, FlowKey, names};
use nix::time::{ClockId, clock_gettime};

use super::Datapath;
use super::error::Error;

impl Datapath {
    /// Every entry of a flow that lives; each flow has one per direction.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn flows(&self) -> Result<Vec<(FlowKey, Flow)>, Error> {
        let all = self.all_flows()?;
        let now = now();
        Ok(all.iter().filter(|(k, f)| !has_ended(k, f, &all, now)).map(|(k, f)| (*k, *f)).collect())
    }

    /// Ends the flows that `dead` names, in both directions; says how many entries that were.
    ///
    /// # Errors
    /// The map cannot be read or written.
    pub fn end_flows(&self, dead: &dyn Fn(&FlowKey, &Flow) -> bool) -> Result<usize, Error> {
        let all = self.all_flows()?;
        let chosen = all.iter().filter(|(k, f)| dead(k, f)).flat_map(|(k, f)| [*k, f.twin_key(k)]);
        self.delete_flows(chosen)
    }

    /// Deletes the entries of flows that have ended; says how many.
    ///
    /// # Errors
    /// The map cannot be read or written.
    pub fn sweep(&self) -> Result<usize, Error> {
        let all = self.all_flows()?;
        let now = now();
        self.delete_flows(all.iter().filter(|(k, f)| has_ended(k, f, &all, now)).map(|(k, _)| *k))
    }

    fn all_flows(&self) -> Result<HashMap<FlowKey, Flow>, Error> {
        let map = self.hash::<FlowKey, Flow>(names::FLOWS)?;
        map.iter().collect::<Result<_, _>>().map_err(|e| Error::map(names::FLOWS, e))
    }

    fn delete_flows(&self, keys: impl Iterator<Item = FlowKey>) -> Result<usize, Error> {
        let mut map = self.hash::<FlowKey, Flow>(names::FLOWS)?;
        Ok(keys.filter(|key| map.remove(key).is_ok()).count())
    }
}

/// The programs' clock, in ticks.
fn now() -> u32 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) else { return 0 };
    ticks(std::time::Duration::from(time).as_nanos().try_into().unwrap_or(u64::MAX))
}

/// As the programs decide it: both directions have been silent for the timeout.
fn has_ended(key: &FlowKey, flow: &Flow, all: &HashMap<FlowKey, Flow>, now: u32) -> bool {
    let silent = |flow: &Flow| State::from_number(flow.state).has_expired(flow.seen, now);
    silent(flow) && all.get(&flow.twin_key(key)).is_none_or(silent)
}
