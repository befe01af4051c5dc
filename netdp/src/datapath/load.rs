//! Loading: check what is pinned, load beside it, then exchange.

use std::fs;
use std::io;

use aya::maps::MapInfo;
use aya::programs::{CgroupSockAddr, Program, ProgramFd, SchedClassifier};
use aya::{Ebpf, EbpfLoader};
use netdp_common::{SCHEMA, names};

use super::attach::{make_dir, remove_pin};
use super::error::Error;
use super::hook::Hook;
use super::{Datapath, OBJECT, bind};

/// The schema of the pinned maps; `None` when nothing is pinned.
pub(super) fn pinned_schema(datapath: &Datapath) -> Result<Option<u32>, Error> {
    let entries = match fs::read_dir(&datapath.bpffs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::pin("listing", &datapath.bpffs, error)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let Some(found) = names.into_iter().find(|name| name.starts_with("schema-")) else { return Ok(None) };
    if found != schema_name() {
        return Err(Error::Schema { path: datapath.bpffs.clone(), found, wanted: SCHEMA });
    }
    Ok(Some(SCHEMA))
}

fn schema_name() -> String {
    format!("schema-{SCHEMA}")
}

pub(super) fn load(datapath: &Datapath) -> Result<(), Error> {
    pinned_schema(datapath)?;
    for folder in ["maps", "progs", "links", "filters"] {
        make_dir(&datapath.bpffs.join(folder))?;
    }
    check_pinned_maps(datapath)?;
    let mut object = load_object(datapath)?;
    for hook in Hook::ALL {
        load_hook(datapath, &mut object, hook)?;
    }
    for (name, kind) in bind::PROGRAMS {
        let program: &mut CgroupSockAddr = program(&mut object, name)?;
        program.load().map_err(|e| Error::program(name, e))?;
        datapath.replace_program(program.fd().map_err(|e| Error::program(name, e))?, name)?;
        datapath.exchange_bind(name, kind)?;
    }
    // Last: a folder that names the schema says that all of the above is there.
    make_dir(&datapath.bpffs.join(schema_name()))?;
    datapath.exchange_all()
}

fn load_object(datapath: &Datapath) -> Result<Ebpf, Error> {
    let cookie = bind::netns_cookie().map_err(Error::Reserve)?;
    let mut loader = EbpfLoader::new();
    loader.override_global(names::NETNS_COOKIE, &cookie, true);
    for name in names::MAPS {
        loader.map_pin_path(name, datapath.map_path(name));
    }
    loader.load(OBJECT).map_err(|e| Error::Object(Box::new(e)))
}

fn load_hook(datapath: &Datapath, object: &mut Ebpf, hook: Hook) -> Result<(), Error> {
    let name = hook.program();
    let program: &mut SchedClassifier = program(object, name)?;
    program.load().map_err(|e| Error::program(name, e))?;
    datapath.replace_program(program.fd().map_err(|e| Error::program(name, e))?, name)
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

/// aya 0.14 opens whatever is pinned under a map's name, and a value of another size would then be written over the
/// stack of whoever reads it. So sizes are compared first.
fn check_pinned_maps(datapath: &Datapath) -> Result<(), Error> {
    let object = aya_obj::Object::parse(OBJECT).map_err(|e| Error::Object(Box::new(e.into())))?;
    for name in names::MAPS {
        let path = datapath.map_path(name);
        if !path.exists() {
            continue;
        }
        let wanted = object.maps.get(name).ok_or(Error::Missing { name })?;
        let found = MapInfo::from_pin(&path).map_err(|e| Error::map(name, e))?;
        if (found.key_size(), found.value_size()) != (wanted.key_size(), wanted.value_size()) {
            let found = format!("map {name} with {} + {} bytes", found.key_size(), found.value_size());
            return Err(Error::Schema { path: datapath.bpffs.clone(), found, wanted: SCHEMA });
        }
    }
    Ok(())
}
