//! Counts by reason, and events.

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
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

    /// The events, for one reader.
    ///
    /// # Errors
    /// The ring cannot be opened.
    pub fn events(&self) -> Result<Events, Error> {
        let map = self.map(names::EVENTS, Map::RingBuf)?;
        Ok(Events(map.try_into().map_err(|e| Error::map(names::EVENTS, e))?))
    }
}

/// What the programs have to tell, as it comes. Open, to look for events costs no call.
pub struct Events(RingBuf<MapData>);

impl Events {
    /// Hands at most `max` events to `f`, oldest first; says how many.
    pub fn drain(&mut self, max: usize, f: &mut dyn FnMut(&Event)) -> usize {
        let mut drained = 0;
        while drained < max {
            let Some(record) = self.0.next() else { break };
            if let Some(event) = Event::decode(&record) {
                f(&event);
            }
            drained += 1;
        }
        drained
    }
}
