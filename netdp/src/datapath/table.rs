//! Single entries of hash tables. The descriptor of each table is opened once: with aya every entry would cost four
//! calls instead of one, and a command may write ten thousand.

use std::collections::HashMap;
use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use aya::Pod;
use aya::maps::MapError;
use aya::sys::SyscallError;
use aya_obj::generated::{bpf_attr, bpf_cmd};
use netdp_common::{Backend, PortKey, names};

use super::error::Error;
use super::{Datapath, bulk, link};

/// Tables that are open, by name. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables(Arc<Mutex<HashMap<&'static str, Arc<OwnedFd>>>>);

impl Datapath {
    pub(super) fn insert<K: Pod, V: Pod>(&self, name: &'static str, key: &K, value: &V) -> Result<(), Error> {
        let table = self.table::<K, V>(name)?;
        let mut attr = attribute(&table, key, std::ptr::from_ref(value) as u64);
        let written = bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, "bpf_map_update_elem", &mut attr);
        written.map_err(|error| self.insert_error(name, error))
    }

    /// One that is gone already is deleted.
    pub(super) fn remove<K: Pod, V: Pod>(&self, name: &'static str, key: &K) -> Result<(), Error> {
        let table = self.table::<K, V>(name)?;
        let mut attr = attribute(&table, key, 0);
        super::entry::gone(name, bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, "bpf_map_delete_elem", &mut attr))
    }

    pub(super) fn find<K: Pod, V: Pod>(&self, name: &'static str, key: &K) -> Result<Option<V>, Error> {
        let table = self.table::<K, V>(name)?;
        let mut value = MaybeUninit::<V>::zeroed();
        let mut attr = attribute(&table, key, value.as_mut_ptr() as u64);
        match bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, "bpf_map_lookup_elem", &mut attr) {
            // SAFETY: the kernel has written a whole value, and a `Pod` is any pattern of bytes.
            Ok(()) => Ok(Some(unsafe { value.assume_init() })),
            Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(Error::map(name, error)),
        }
    }

    /// Publishes ports that are not published yet: all of them or, when the map is full, none.
    ///
    /// # Errors
    /// The map is full, or cannot be opened.
    pub fn put_ports(&self, ports: &[(PortKey, Backend)]) -> Result<(), Error> {
        let table = self.table::<PortKey, Backend>(names::PORTS)?;
        let (keys, backends): (Vec<PortKey>, Vec<Backend>) = ports.iter().copied().unzip();
        let Err(io_error) = bulk::update(&table, &keys, &backends) else { return Ok(()) };
        self.delete_ports(ports)?;
        let call = "bpf_map_update_batch";
        Err(self.insert_error(names::PORTS, MapError::SyscallError(SyscallError { call, io_error })))
    }

    /// Takes published ports back; those that are gone already are.
    ///
    /// # Errors
    /// The map cannot be opened.
    pub fn delete_ports(&self, ports: &[(PortKey, Backend)]) -> Result<(), Error> {
        ports.iter().try_for_each(|(key, _)| self.remove::<PortKey, Backend>(names::PORTS, key))
    }

    /// Every published port.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn ports(&self) -> Result<Vec<(PortKey, Backend)>, Error> {
        let table = self.table::<PortKey, Backend>(names::PORTS)?;
        bulk::entries(&table).map_err(|e| Error::pin("reading", self.map_path(names::PORTS), e))
    }

    /// The descriptor of a table whose keys and values have the sizes of these types.
    fn table<K: Pod, V: Pod>(&self, name: &'static str) -> Result<Arc<OwnedFd>, Error> {
        let mut open = self.tables.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = open.get(name) {
            return Ok(Arc::clone(table));
        }
        // Refused when the pinned table has other sizes than these. A name has one key and one value type.
        self.hash::<K, V>(name)?;
        let path = self.map_path(name);
        let table = Arc::new(link::open(&path).map_err(|e| Error::pin("opening the map", path, e))?);
        open.insert(name, Arc::clone(&table));
        Ok(table)
    }
}

/// `value` is the address of one, or zero.
fn attribute<K: Pod>(table: &OwnedFd, key: &K, value: u64) -> bpf_attr {
    // SAFETY: all-zero is a valid `bpf_attr`, a union of structs of integers.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.__bindgen_anon_2.map_fd = table.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value;
    attr
}

fn bpf(command: bpf_cmd, call: &'static str, attr: &mut bpf_attr) -> Result<(), MapError> {
    let failed = |io_error: io::Error| MapError::SyscallError(SyscallError { call, io_error });
    link::bpf(command, attr).map(drop).map_err(failed)
}
