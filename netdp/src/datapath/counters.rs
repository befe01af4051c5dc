//! Counts by reason, and events.

use aya::maps::{Map, PerCpuArray, RingBuf};
use netdp_common::{Count, Event, Reason, names};

use super::Datapath;
use super::error::Error;

impl Datapath {
    /// What every reason has counted since the programs were first loaded, summed over the CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Vec<(Reason, Count)>, Error> {
        let failed = |e| Error::map(names::COUNTERS, e);
        let map = self.map(names::COUNTERS, Map::PerCpuArray)?;
        let map: PerCpuArray<_, Count> = map.try_into().map_err(failed)?;
        let mut counters = Vec::with_capacity(Reason::ALL.len());
        for &reason in Reason::ALL {
            let per_cpu = map.get(&reason.number(), 0).map_err(failed)?;
            let sum = per_cpu.iter().fold(Count::default(), |sum, one| Count {
                packets: sum.packets + one.packets,
                bytes: sum.bytes + one.bytes,
            });
            counters.push((reason, sum));
        }
        Ok(counters)
    }

    /// Hands at most `max` events to `f`, oldest first; says how many. One reader at a time.
    ///
    /// # Errors
    /// The ring cannot be opened.
    pub fn drain_events(&self, max: usize, f: &mut dyn FnMut(&Event)) -> Result<usize, Error> {
        let map = self.map(names::EVENTS, Map::RingBuf)?;
        let mut ring: RingBuf<_> = map.try_into().map_err(|e| Error::map(names::EVENTS, e))?;
        let mut drained = 0;
        while drained < max {
            let Some(record) = ring.next() else { break };
            if let Some(event) = Event::decode(&record) {
                f(&event);
            }
            drained += 1;
        }
        Ok(drained)
    }
}
