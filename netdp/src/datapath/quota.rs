//! What the programs have counted for each payer: given back where the controller deletes, and counted anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use aya::maps::{Map, MapData, MapError, Queue};
use netdp_common::quota::{self, Kind};
use netdp_common::{Flow, FlowKey, Link, Mapping, MappingKey, Payer, Quota, Release, mapping::Side, names};

use super::error::Error;
use super::flows::FlowTable;
use super::{Datapath, bulk, link};

/// How much of what each payer has, two's complements.
pub(super) type Counts = BTreeMap<Payer, u64>;

/// What a recount has found to be wrong. Only what the next one finds again is put right: flows that a command is just deleting
/// are counted and not there for a moment.
#[derive(Debug, Default)]
pub struct Recount(BTreeMap<Payer, i64>);

impl Datapath {
    /// Gives back what was deleted. The programs take it in before they refuse anybody.
    pub(super) fn give_back(&self, deleted: Counts) -> Result<(), Error> {
        if deleted.is_empty() {
            return Ok(());
        }
        let mut queue = self.released()?;
        if push(&mut queue, &deleted).is_ok() {
            return Ok(());
        }
        // Full, where nobody was at a limit for very long: put together, it has an element for each payer.
        let mut all = pending(&mut queue)?;
        for (payer, count) in deleted {
            add(&mut all, payer, count);
        }
        push(&mut queue, &all)
    }

    /// Compares what was counted with what is there, and heals what the recount before this one has found as well. Gives the
    /// entries of the flow table as they were.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn recount(&self, before: &mut Recount) -> Result<FlowTable, Error> {
        let mut queue = self.released()?;
        let pending = pending(&mut queue)?;
        push(&mut queue, &pending)?;
        let earlier: HashMap<Payer, Quota> = self.quotas()?.into_iter().collect();
        let flows = self.flow_entries()?;
        let found = self.found(&flows)?;
        let mut wrong = BTreeMap::new();
        for (payer, row) in self.quotas()? {
            let used = row.used.wrapping_sub(pending.get(&payer).copied().unwrap_or_default());
            let changes = row.changes.wrapping_sub(earlier.get(&payer).map_or(0, |row| row.changes));
            let there = found.get(&payer).copied().unwrap_or_default();
            wrong.insert(payer, quota::drift(used, there, changes));
        }
        for (payer, there) in found {
            wrong.entry(payer).or_insert_with(|| quota::drift(0, there, 0));
        }
        wrong.retain(|_, drift| *drift != 0);
        let sure = wrong.iter().filter(|(payer, drift)| before.0.get(payer) == Some(drift));
        // A payer's flows are given back to the row of all as well, so that only what that one lacks beyond is its own.
        let heal: Counts = sure.map(|(payer, drift)| (*payer, drift.cast_unsigned())).collect();
        before.0 = wrong;
        self.heal(heal, before)?;
        Ok(FlowTable(flows))
    }

    fn heal(&self, heal: Counts, found: &mut Recount) -> Result<(), Error> {
        if heal.is_empty() {
            return Ok(());
        }
        tracing::debug!(?heal, "what was counted for flows is put right");
        found.0.retain(|payer, _| !heal.contains_key(payer));
        let mut heal = heal;
        let is_flows = |payer: &Payer| payer.kind == Kind::BEGINS || payer.kind == Kind::SERVES;
        let flows =
            heal.iter().filter(|(payer, _)| is_flows(payer)).fold(0_u64, |sum, (_, n)| sum.wrapping_add(*n));
        if flows != 0 && !heal.contains_key(&Payer::ALL) {
            // Wrong for the payer alone: the row of all is right, and what it is given with the payer's is taken again.
            heal.insert(Payer::ALL, 0);
        }
        if let Some(all) = heal.get_mut(&Payer::ALL) {
            *all = all.wrapping_sub(flows);
        }
        heal.retain(|_, count| *count != 0);
        self.give_back(heal)
    }

    /// What is there, by who pays for it.
    fn found(&self, flows: &[(FlowKey, Flow)]) -> Result<Counts, Error> {
        let mut found = Counts::new();
        for (_, flow) in flows.iter().filter(|(_, flow)| flow.is_reply()) {
            add(&mut found, Payer::of(flow), 1);
            add(&mut found, Payer::ALL, 1);
        }
        let path = self.map_path(names::MAPPINGS);
        let rows = link::open(&path).and_then(|map| bulk::entries::<MappingKey, Mapping>(&map));
        for (key, row) in rows.map_err(|e| Error::pin("reading", path, e))? {
            if key.side == Side::OUTSIDE {
                add(&mut found, Payer::of_port(row.owner), 1);
            }
        }
        Ok(found)
    }

    /// Forgets the payers that are no more, whose flows have ended.
    pub(super) fn forget_payers(&self) -> Result<(), Error> {
        let links: HashSet<u32> =
            self.rows::<u32, Link>(names::LINKS)?.into_iter().map(|(ifindex, _)| ifindex).collect();
        let mut rows = self.hash::<Payer, Quota>(names::QUOTAS)?;
        let quotas = self.quotas()?.into_iter().map(|(payer, _)| payer);
        for payer in quotas.filter(|payer| payer.ifindex != 0 && !links.contains(&payer.ifindex)) {
            // That it was gone already is what is wanted.
            let _ = rows.remove(&payer);
        }
        Ok(())
    }

    /// What each payer has.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn quotas(&self) -> Result<Vec<(Payer, Quota)>, Error> {
        self.hash::<Payer, Quota>(names::QUOTAS)?;
        let path = self.map_path(names::QUOTAS);
        let rows = link::open(&path).and_then(|map| bulk::entries(&map));
        rows.map_err(|e| Error::pin("reading", path, e))
    }

    fn released(&self) -> Result<Queue<MapData, Release>, Error> {
        self.map(names::RELEASED, Map::Queue)?.try_into().map_err(|e| Error::map(names::RELEASED, e))
    }
}

fn push(queue: &mut Queue<MapData, Release>, counts: &Counts) -> Result<(), Error> {
    let mut releases = counts.iter().map(|(payer, count)| Release { payer: *payer, count: *count });
    releases.try_for_each(|release| queue.push(release, 0)).map_err(|e| Error::map(names::RELEASED, e))
}

/// Takes out what the programs have not taken in yet.
fn pending(queue: &mut Queue<MapData, Release>) -> Result<Counts, Error> {
    let mut pending = Counts::new();
    loop {
        match queue.pop(0) {
            Ok(release) => add(&mut pending, release.payer, release.count),
            Err(MapError::ElementNotFound) => return Ok(pending),
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => {
                return Ok(pending);
            }
            Err(error) => return Err(Error::map(names::RELEASED, error)),
        }
    }
}

fn add(counts: &mut Counts, payer: Payer, count: u64) {
    let sum = counts.entry(payer).or_default();
    *sum = sum.wrapping_add(count);
}

/// Notes an entry that was deleted.
pub(super) fn note(deleted: &mut Counts, flow: &Flow) {
    if flow.is_reply() {
        add(deleted, Payer::of(flow), 1);
    }
}

/// Notes an outside port that was deleted.
pub(super) fn note_port(deleted: &mut Counts, key: &MappingKey, row: &Mapping) {
    if key.side == Side::OUTSIDE {
        add(deleted, Payer::of_port(row.owner), 1);
    }
}
