//! The programs and maps in the kernel: the only aya code.
//!
//! Everything is pinned in the run directory's own bpffs, so nothing here belongs to a process: [`Datapath`] is a
//! path, and any process that may read it can go on where another one ended.
//!
//! ```text
//! bpf/schema-2/          the version of the layouts (netdp_common::SCHEMA)
//! bpf/maps/NAME          netdp_common::names
//! bpf/progs/NAME         the programs, for attaching without loading anew
//! bpf/links/HOOK-IFINDEX TCX links; the programs run as long as these exist
//! bpf/filters/HOOK-IFINDEX  marks of clsact filters, where the kernel has no TCX
//! bpf/filters/clsact-IFINDEX  marks of the qdiscs that were added for them
//! bpf/links/prefilter_MODE-IFINDEX  XDP links, by the mode in which they are attached
//! bpf/links/bind4, bind6 the reservation of published ports
//! ```

mod attach;
mod bind;
mod bulk;
mod counters;
mod entry;
mod error;
mod excluded;
mod flows;
mod hook;
mod link;
mod load;
mod mappings;
mod prefilter;
mod quota;
mod refusal;
mod resolver;
mod schema;
mod sorter;
mod source;
mod stale;
mod table;
mod timers;

use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData};

pub use attach::{AttachMode, Attachment};
pub use counters::Events;
pub use entry::Entry;
pub use error::Error;
pub use flows::FlowTable;
pub use hook::Hook;
pub use prefilter::{Prefiltered, XdpMode};
pub use quota::Recount;
pub use refusal::{Refusal, refusal};
pub use resolver::Served;

pub(crate) use bind::netns_cookie;
pub(crate) use refusal::name_of as helper_name;

/// The object with all programs, as `cargo xtask build` made it: an operator needs no other file.
pub const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/netdp.bpf.o"));

/// A handle on what is pinned below one bpffs.
#[derive(Clone, Debug)]
pub struct Datapath {
    bpffs: PathBuf,
    tables: table::Tables,
}

impl Datapath {
    /// Loads the programs and puts them in the place of those that run, one atomic exchange per hook: no packet
    /// meets a hook without its program. Maps that exist keep their contents.
    ///
    /// The calling thread is in the host's network namespace.
    ///
    /// A new flow table has room for so many flows; one that exists keeps its size. `without` are the mechanisms to do without
    /// ([`netdp_common::without`]).
    ///
    /// # Errors
    /// The kernel refuses a program or map, or the pinned maps have another layout.
    pub fn load(bpffs: &Path, flows: u32, without: u32) -> Result<Self, Error> {
        Self::load_object(bpffs, flows, without, OBJECT)
    }

    /// The same with the programs of another release, in the form of [`OBJECT`].
    ///
    /// # Errors
    /// As for [`Datapath::load`].
    pub fn load_object(bpffs: &Path, flows: u32, without: u32, object: &[u8]) -> Result<Self, Error> {
        let datapath = Self::at(bpffs);
        load::load(&datapath, flows, without, object)?;
        Ok(datapath)
    }

    /// What a former [`Datapath::load`] has pinned; `None` when there is nothing.
    ///
    /// # Errors
    /// Something is pinned that this version does not know.
    pub fn open(bpffs: &Path) -> Result<Option<Self>, Error> {
        let datapath = Self::at(bpffs);
        Ok(schema::is_pinned(&datapath)?.then_some(datapath))
    }

    fn at(bpffs: &Path) -> Self {
        Self { bpffs: bpffs.to_owned(), tables: table::Tables::default() }
    }

    fn map_path(&self, name: &str) -> PathBuf {
        self.bpffs.join("maps").join(name)
    }

    fn program_path(&self, name: &str) -> PathBuf {
        self.bpffs.join("progs").join(name)
    }

    fn link_dir(&self) -> PathBuf {
        self.bpffs.join("links")
    }

    fn filter_dir(&self) -> PathBuf {
        self.bpffs.join("filters")
    }

    /// Opens a pinned map as the kind that `kind` wraps it in.
    fn map(&self, name: &'static str, kind: fn(MapData) -> Map) -> Result<Map, Error> {
        let data = MapData::from_pin(self.map_path(name)).map_err(|source| Error::map(name, source))?;
        Ok(kind(data))
    }
}
