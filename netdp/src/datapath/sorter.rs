//! Where fragments are sorted.

use aya::maps::{Array, Map};
use netdp_common::names;

use super::Datapath;
use super::error::Error;

impl Datapath {
    /// Has fragments go by the interface `ifindex`; zero is that there is none.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn set_sorter(&self, ifindex: u32) -> Result<(), Error> {
        let failed = |e| Error::map(names::SORTER, e);
        let mut slot: Array<_, u32> = self.map(names::SORTER, Map::Array)?.try_into().map_err(failed)?;
        slot.set(0, ifindex, 0).map_err(failed)
    }
}
