//! What is pinned, and whether this version can go on with it. Looked at before anything is opened or changed.
//!
//! The folder `schema-N` says which layouts a version has pinned, and every version refuses another number. aya 0.14
//! opens whatever is pinned under a map's name, and a value of another size would then be written over the stack of
//! whoever reads it. So the maps themselves are looked at too: kind, sizes and flags must be those of the object.
//!
//! The number of entries of a table is no part of its layout. A version that wants a larger one takes over the old one
//! as it is, with its flows, rather than to cut every connection for the sake of room that nobody may need. It has its
//! own size after the next `netdp down`. The slots of an array have meanings, so their number is a part; but not those of the
//! ledger, which are as many as the flow table has entries, and that number is set by the operator.

use std::fmt;
use std::fs;
use std::io;

use aya::maps::{MapInfo, MapType};
use aya_obj::generated::bpf_map_type;
use netdp_common::{SCHEMA, names};

use super::Datapath;
use super::error::Error;

/// What two versions must agree on to share a map.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Layout {
    kind: u32,
    key: u32,
    value: u32,
    flags: u32,
    slots: Option<u32>,
}

/// Refuses a pinned schema that is not ours; says whether ours is pinned.
pub(super) fn is_pinned(datapath: &Datapath) -> Result<bool, Error> {
    let entries = match fs::read_dir(&datapath.bpffs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::pin("listing", &datapath.bpffs, error)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let Some(found) = names.into_iter().find(|name| name.starts_with("schema-")) else { return Ok(false) };
    if found != folder() {
        return Err(Error::Schema { path: datapath.bpffs.clone(), found, wanted: folder() });
    }
    Ok(true)
}

/// The folder that names our schema.
pub(super) fn folder() -> String {
    format!("schema-{SCHEMA}")
}

/// Refuses pinned maps that the object's programs would misread.
pub(super) fn check_maps(datapath: &Datapath, object: &[u8]) -> Result<(), Error> {
    let object = aya_obj::Object::parse(object).map_err(|e| Error::Object(Box::new(e.into())))?;
    for name in names::MAPS {
        let path = datapath.map_path(name);
        if !path.exists() {
            continue;
        }
        // The programs of a release that does not know a map cannot misread it.
        let Some(wanted) = object.maps.get(name) else { continue };
        let found = MapInfo::from_pin(&path).map_err(|e| Error::map(name, e))?;
        compare(datapath, name, &found, wanted)?;
    }
    Ok(())
}

fn compare(
    datapath: &Datapath,
    name: &str,
    found: &MapInfo,
    wanted: &aya_obj::maps::Map,
) -> Result<(), Error> {
    let (mut there, mut ours) = (Layout::of_pinned(found), Layout::of_object(wanted));
    let is_set = [names::FLOWS, names::LEDGER].contains(&name);
    if is_set {
        (there.slots, ours.slots) = (None, None);
    }
    if there != ours {
        let path = datapath.bpffs.clone();
        return Err(Error::Schema { path, found: format!("map {name}: {there}"), wanted: ours.to_string() });
    }
    if !is_set && found.max_entries() != wanted.max_entries() {
        let (has, wants) = (found.max_entries(), wanted.max_entries());
        tracing::warn!(
            "map {name} keeps its {has} entries until the next netdp down; this version has {wants}"
        );
    }
    Ok(())
}

impl Layout {
    fn of_pinned(map: &MapInfo) -> Self {
        let kind = map.map_type().map_or(bpf_map_type::__MAX_BPF_MAP_TYPE as u32, |kind| kind as u32);
        let slots = has_slots(kind).then(|| map.max_entries());
        Self { kind, key: map.key_size(), value: map.value_size(), flags: map.map_flags(), slots }
    }

    fn of_object(map: &aya_obj::maps::Map) -> Self {
        let kind = map.map_type();
        let slots = has_slots(kind).then(|| map.max_entries());
        Self { kind, key: map.key_size(), value: map.value_size(), flags: map.map_flags(), slots }
    }
}

fn has_slots(kind: u32) -> bool {
    [MapType::Array, MapType::PerCpuArray].iter().any(|array| *array as u32 == kind)
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key, value, flags, slots } = self;
        write!(f, "{}, key of {key} and value of {value} bytes, flags {flags:#x}", kind_name(*kind))?;
        match slots {
            Some(slots) => write!(f, ", {slots} slots"),
            None => Ok(()),
        }
    }
}

/// As `bpftool map` prints it.
fn kind_name(kind: u32) -> String {
    match bpf_map_type::try_from(kind) {
        Ok(kind) => format!("{kind:?}").replacen("BPF_MAP_TYPE_", "", 1).to_lowercase(),
        Err(_) => format!("a map of kind {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: Layout = Layout { kind: MapType::Hash as u32, key: 40, value: 64, flags: 0, slots: None };

    #[test]
    fn a_layout_is_told_in_the_words_of_bpftool() {
        let lru = Layout { kind: MapType::LruHash as u32, flags: 1, ..HASH };
        assert_eq!(lru.to_string(), "lru_hash, key of 40 and value of 64 bytes, flags 0x1");
        let array = Layout { kind: MapType::PerCpuArray as u32, slots: Some(64), ..HASH };
        assert_eq!(array.to_string(), "percpu_array, key of 40 and value of 64 bytes, flags 0x0, 64 slots");
    }

    #[test]
    fn slots_count_for_arrays_only() {
        let object = aya_obj::Object::parse(super::super::OBJECT).expect("the embedded object");
        let slots = |name| Layout::of_object(&object.maps[name]).slots;
        assert_eq!(slots(names::COUNTERS), Some(netdp_common::reason::SLOTS));
        assert_eq!((slots(names::FLOWS), slots(names::EVENTS)), (None, None));
    }
}
