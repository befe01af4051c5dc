//! The timers that an operator has set.

use aya::maps::{Array, Map, MapData};
use netdp_common::names;

use super::Datapath;
use super::error::Error;

impl Datapath {
    /// The rows of `SETTINGS`, as [`netdp_common::settings`] tells.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn timer_rows(&self) -> Result<Vec<u32>, Error> {
        let rows = self.settings()?;
        let rows: Result<Vec<u32>, _> = rows.iter().collect();
        rows.map_err(|e| Error::map(names::SETTINGS, e))
    }

    /// Those that are set, with the number of their state.
    pub(super) fn set_timers(&self) -> Result<Vec<(u32, u32)>, Error> {
        Ok((0..).zip(self.timer_rows()?).filter(|(_, row)| *row != 0).collect())
    }

    /// Sets the row of a state by its number. It holds for flows that are there already, from their next packet on.
    pub(super) fn set_timer_row(&self, number: u32, row: u32) -> Result<(), Error> {
        self.settings()?.set(number, row, 0).map_err(|e| Error::map(names::SETTINGS, e))
    }

    fn settings(&self) -> Result<Array<MapData, u32>, Error> {
        self.map(names::SETTINGS, Map::Array)?.try_into().map_err(|e| Error::map(names::SETTINGS, e))
    }
}
