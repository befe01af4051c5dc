//! Loading: all programs beside those that run, then the exchange.

use std::fs;

use aya::maps::MapInfo;
use aya::programs::{CgroupSockAddr, Program, ProgramFd, SchedClassifier, SkLookup, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use netdp_common::names;

use super::attach::{make_dir, remove_pin};
use super::error::Error;
use super::hook::Hook;
use super::{Datapath, bind, schema};

pub(super) fn load(datapath: &Datapath, flows: u32, without: u32, object: &[u8]) -> Result<(), Error> {
    schema::is_pinned(datapath)?;
    schema::check_maps(datapath, object)?;
    for folder in ["maps", "progs", "links", "filters"] {
        make_dir(&datapath.bpffs.join(folder))?;
    }
    let mut object = open(datapath, flow_entries(datapath, flows)?, without, object)?;
    // All of them before the first is pinned: when the kernel refuses one, the old ones are still together.
    load_programs(&mut object)?;
    pin_programs(datapath, &mut object)?;
    for (name, kind) in bind::PROGRAMS {
        datapath.exchange_bind(name, kind)?;
    }
    // Last: a folder that names the schema says that all of the above is there.
    make_dir(&datapath.bpffs.join(schema::folder()))?;
    datapath.exchange_all()?;
    datapath.exchange_prefilters()
}

/// Entries of the flow table: two per flow, or those that it has.
fn flow_entries(datapath: &Datapath, flows: u32) -> Result<u32, Error> {
    let (path, wanted) = (datapath.map_path(names::FLOWS), flows.saturating_mul(2));
    if !path.exists() {
        return Ok(wanted);
    }
    let found = MapInfo::from_pin(path).map_err(|e| Error::map(names::FLOWS, e))?.max_entries();
    if found != wanted {
        let name = names::FLOWS;
        tracing::warn!("map {name} keeps its {found} entries until the next netdp down; {wanted} are set");
    }
    Ok(found)
}

fn open(datapath: &Datapath, entries: u32, without: u32, object: &[u8]) -> Result<Ebpf, Error> {
    let cookie = bind::netns_cookie().map_err(Error::Reserve)?;
    let mut loader = EbpfLoader::new();
    let capacity = entries / 2;
    loader
        .verifier_log_level(log_level())
        .override_global(names::NETNS_COOKIE, &cookie, true)
        // Earlier releases have neither.
        .override_global(names::FLOW_CAPACITY, &capacity, false)
        .override_global(names::WITHOUT, &without, false)
        .map_max_entries(names::FLOWS, entries)
        .map_max_entries(names::LEDGER, entries);
    for name in names::MAPS {
        loader.map_pin_path(name, datapath.map_path(name));
    }
    loader.load(object).map_err(|e| Error::Object(Box::new(e)))
}

/// Errors are written at every level. The trace of all instructions may not fit, and a kernel before 6.4 then keeps its
/// beginning instead of its end: the error would be lost, after ten runs of the verifier for ever larger buffers.
fn log_level() -> VerifierLogLevel {
    if tracing::enabled!(tracing::Level::DEBUG) {
        VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
    } else {
        VerifierLogLevel::STATS
    }
}

fn load_programs(object: &mut Ebpf) -> Result<(), Error> {
    for hook in Hook::ALL {
        let name = hook.program();
        let program: &mut SchedClassifier = program(object, name)?;
        program.load().map_err(|e| Error::program(name, e))?;
    }
    if let Some(prefilter) = prefilter(object)? {
        prefilter.load().map_err(|e| Error::program(names::PREFILTER, e))?;
    }
    for (name, _) in bind::PROGRAMS {
        let program: &mut CgroupSockAddr = program(object, name)?;
        program.load().map_err(|e| Error::program(name, e))?;
    }
    if let Some(resolver) = resolver(object)? {
        resolver.load().map_err(|e| Error::program(names::RESOLVER, e))?;
    }
    Ok(())
}

fn pin_programs(datapath: &Datapath, object: &mut Ebpf) -> Result<(), Error> {
    for hook in Hook::ALL {
        let name = hook.program();
        let program: &mut SchedClassifier = program(object, name)?;
        datapath.replace_program(program.fd().map_err(|e| Error::program(name, e))?, name)?;
    }
    match prefilter(object)? {
        Some(program) => {
            let fd = program.fd().map_err(|e| Error::program(names::PREFILTER, e))?;
            datapath.replace_program(fd, names::PREFILTER)?;
        }
        None => datapath.drop_prefilter()?,
    }
    for (name, _) in bind::PROGRAMS {
        let program: &mut CgroupSockAddr = program(object, name)?;
        datapath.replace_program(program.fd().map_err(|e| Error::program(name, e))?, name)?;
    }
    if let Some(program) = resolver(object)? {
        let fd = program.fd().map_err(|e| Error::program(names::RESOLVER, e))?;
        datapath.replace_program(fd, names::RESOLVER)?;
    }
    Ok(())
}

/// The way to the resolver, which releases before it do not have.
fn resolver(object: &mut Ebpf) -> Result<Option<&mut SkLookup>, Error> {
    if object.program(names::RESOLVER).is_none() {
        return Ok(None);
    }
    program(object, names::RESOLVER).map(Some)
}

/// The prefilter, which releases before the deny list do not have.
fn prefilter(object: &mut Ebpf) -> Result<Option<&mut Xdp>, Error> {
    if object.program(names::PREFILTER).is_none() {
        return Ok(None);
    }
    program(object, names::PREFILTER).map(Some)
}

fn program<'a, P>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, Error>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    let program = object.program_mut(name).ok_or(Error::Missing { name })?;
    program.try_into().map_err(|_| Error::Missing { name })
}

impl Datapath {
    /// Pins a program where another one may be pinned: beside it first, then over it, so that the name is always there.
    fn replace_program(&self, program: &ProgramFd, name: &str) -> Result<(), Error> {
        // A bpffs takes no dots in names.
        let (path, beside) = (self.program_path(name), self.program_path(&format!("{name}_new")));
        remove_pin(&beside)?;
        super::link::pin(program, &beside).map_err(|e| Error::pin("pinning the program", &beside, e))?;
        fs::rename(&beside, &path).map_err(|e| Error::pin("renaming the program to", path, e))
    }
}
