//! The outside endpoints that containers are seen by. The programs make them; they end here with the container.

use std::collections::HashSet;

use netdp_common::mapping::Side;
use netdp_common::{Addr, FlowKey, Mapping, MappingKey, Port, names};

use super::error::Error;
use super::{Datapath, bulk, link, quota};

/// Outside endpoints with the inside ones that they lead to.
#[derive(Default)]
pub(super) struct Mappings(HashSet<(MappingKey, Addr, Port)>);

impl Mappings {
    /// These alone.
    #[cfg(test)]
    pub(super) fn of(rows: impl IntoIterator<Item = (MappingKey, Addr, Port)>) -> Self {
        Self(rows.into_iter().collect())
    }

    /// Whether the destination of a packet from outside is the outside endpoint of this inside one.
    pub(super) fn lead(&self, key: &FlowKey, inside: (Addr, Port)) -> bool {
        let outside = MappingKey::outside(key.dst, key.dport, key.proto);
        self.0.contains(&(outside, inside.0, inside.1))
    }
}

impl Datapath {
    /// Forgets the mappings of containers (veth and address) that are no more; gives those that stay.
    pub(super) fn end_stale_mappings(&self, endpoints: &HashSet<(u32, Addr)>) -> Result<Mappings, Error> {
        let mut map = self.hash::<MappingKey, Mapping>(names::MAPPINGS)?;
        let path = self.map_path(names::MAPPINGS);
        let rows = link::open(&path).and_then(|map| bulk::entries::<MappingKey, Mapping>(&map));
        let (mut live, mut deleted) = (Mappings::default(), quota::Counts::new());
        for (key, row) in rows.map_err(|e| Error::pin("reading", path, e))? {
            if key.side == Side::HOST {
                continue;
            }
            if !endpoints.contains(&(row.owner, inside(&key, &row))) {
                // That it was gone already is what is wanted.
                if map.remove(&key).is_ok() {
                    quota::note_port(&mut deleted, &key, &row);
                }
            } else if key.side == Side::OUTSIDE {
                live.0.insert((key, row.addr, row.port));
            }
        }
        self.give_back(deleted)?;
        Ok(live)
    }
}

fn inside(key: &MappingKey, row: &Mapping) -> Addr {
    if key.side == Side::INSIDE { key.inside } else { row.addr }
}
