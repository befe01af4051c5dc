//! The prefilter on uplinks, and the maps that only it and the deny list have. Its links are pinned under the mode in
//! which they are attached: a link does not say it, and an operator who asks for another mode is to get it.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use aya::maps::{Array, Map, MapData, MapError};
use netdp_common::{SubnetKey, names};

use super::attach::{self, remove_pin};
use super::entry::lpm_key;
use super::error::Error;
use super::{Datapath, link};

/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` of `linux/if_link.h`.
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;

/// Who runs an XDP program.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum XdpMode {
    /// The driver, before there is a socket buffer.
    Native,
    /// The kernel, with a socket buffer made already: for drivers that cannot.
    Generic,
}

impl XdpMode {
    /// Both.
    const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    const fn flags(self) -> u32 {
        match self {
            Self::Native => DRV_MODE,
            Self::Generic => SKB_MODE,
        }
    }

    /// The mode and interface of a pin; `None` for a pin of something else.
    fn from_pin_name(name: &str) -> Option<(Self, u32)> {
        let (before, ifindex) = name.rsplit_once('-')?;
        let mode = Self::ALL.into_iter().find(|mode| mode.pin_prefix() == before)?;
        Some((mode, ifindex.parse().ok()?))
    }

    fn pin_prefix(self) -> String {
        format!("{}_{self}", names::PREFILTER)
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An uplink with the prefilter on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prefiltered {
    /// The interface.
    pub ifindex: u32,
    /// Who runs it.
    pub mode: XdpMode,
    /// Id of the program, as `bpftool prog` prints it.
    pub program_id: u32,
}

impl Datapath {
    /// Attaches the prefilter to an interface of the calling thread's namespace that has no XDP program. The inner error is
    /// what the kernel or the driver says against it.
    ///
    /// # Errors
    /// The link cannot be pinned.
    pub fn attach_prefilter(&self, ifindex: u32, mode: XdpMode) -> Result<io::Result<()>, Error> {
        let path = self.program_path(names::PREFILTER);
        let program = link::open(&path).map_err(|e| Error::pin("opening the program", path, e))?;
        let attached = match link::create_xdp(&program, ifindex, mode.flags()) {
            Ok(attached) => attached,
            Err(error) => return Ok(Err(error)),
        };
        let path = self.prefilter_path(mode, ifindex);
        // Of an interface that is gone, whose number another one has got.
        remove_pin(&path)?;
        link::pin(&attached, &path).map_err(|e| Error::pin("pinning the link", path, e))?;
        Ok(Ok(()))
    }

    /// Takes the prefilter off an interface; one that has none or is gone needs nothing.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn detach_prefilter(&self, ifindex: u32) -> Result<(), Error> {
        for path in XdpMode::ALL.map(|mode| self.prefilter_path(mode, ifindex)) {
            if !path.exists() {
                continue;
            }
            // Of an interface that is gone there is nothing left to detach.
            let _ = link::open(&path).and_then(|fd| link::detach(&fd));
            remove_pin(&path)?;
        }
        Ok(())
    }

    /// The uplinks that have it.
    ///
    /// # Errors
    /// The pins cannot be read.
    pub fn prefilters(&self) -> Result<Vec<Prefiltered>, Error> {
        let mut found = Vec::new();
        for (mode, ifindex) in self.prefilter_pins()? {
            let path = self.prefilter_path(mode, ifindex);
            let info = link::open(&path)
                .and_then(|fd| link::info(&fd))
                .map_err(|e| Error::pin("reading the link", path, e))?;
            if info.ifindex == ifindex {
                found.push(Prefiltered { ifindex, mode, program_id: info.program_id });
            }
        }
        Ok(found)
    }

    /// Puts the pinned program into every link there is; links whose interface is gone are forgotten.
    pub(super) fn exchange_prefilters(&self) -> Result<(), Error> {
        let path = self.program_path(names::PREFILTER);
        if !self.has_prefilter() {
            return Ok(());
        }
        let program = link::open(&path).map_err(|e| Error::pin("opening the program", path, e))?;
        for (mode, ifindex) in self.prefilter_pins()? {
            let path = self.prefilter_path(mode, ifindex);
            match link::open(&path).and_then(|fd| link::update(&fd, program.as_fd())) {
                Ok(()) => {}
                Err(error) if link::is_gone(&error) => remove_pin(&path)?,
                Err(error) => return Err(Error::pin("updating the link", path, error)),
            }
        }
        Ok(())
    }

    /// Leaves none behind that another release could not take off.
    pub(super) fn drop_prefilter(&self) -> Result<(), Error> {
        for (_, ifindex) in self.prefilter_pins()? {
            self.detach_prefilter(ifindex)?;
        }
        remove_pin(&self.program_path(names::PREFILTER))
    }

    fn prefilter_pins(&self) -> Result<Vec<(XdpMode, u32)>, Error> {
        let pins = attach::names(&self.link_dir())?;
        Ok(pins.iter().filter_map(|name| XdpMode::from_pin_name(name)).collect())
    }

    fn prefilter_path(&self, mode: XdpMode, ifindex: u32) -> PathBuf {
        self.link_dir().join(format!("{}-{ifindex}", mode.pin_prefix()))
    }

    /// Whether the release that is loaded has it.
    pub fn has_prefilter(&self) -> bool {
        self.program_path(names::PREFILTER).exists()
    }

    pub(super) fn deny(&self, key: &SubnetKey) -> Result<(), Error> {
        if !self.map_path(names::DENY).exists() {
            return Err(Error::Earlier { name: names::DENY });
        }
        let result = self.prefixes(names::DENY)?.insert(&lpm_key(key), key.prefix_len, 0);
        result.map_err(|error| self.insert_error(names::DENY, error))
    }

    /// Whether exactly this prefix is in the list. A look-up also finds a shorter one, and its row says so.
    pub(super) fn is_denied(&self, key: &SubnetKey) -> Result<bool, Error> {
        if !self.map_path(names::DENY).exists() {
            return Ok(false);
        }
        match self.prefixes(names::DENY)?.get(&lpm_key(key), 0) {
            Ok(prefix_len) => Ok(prefix_len == key.prefix_len),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(Error::map(names::DENY, error)),
        }
    }

    /// The whole list; an earlier version has pinned none, and then there is nothing in it.
    pub(super) fn denied(&self) -> Result<Vec<SubnetKey>, Error> {
        if !self.map_path(names::DENY).exists() {
            return Ok(Vec::new());
        }
        let key = |key: aya::maps::lpm_trie::Key<netdp_common::Addr>| SubnetKey {
            prefix_len: key.prefix_len(),
            addr: key.data(),
        };
        let keys: Result<Vec<_>, _> =
            self.prefixes(names::DENY)?.keys().map(|found| found.map(key)).collect();
        keys.map_err(|e| Error::map(names::DENY, e))
    }

    /// What is taken from the wire, unless it is nothing.
    pub(super) fn wire(&self) -> Result<Option<u32>, Error> {
        if !self.map_path(names::WIRE).exists() {
            return Ok(None);
        }
        let flags = self.wire_map()?.get(&0, 0).map_err(|e| Error::map(names::WIRE, e))?;
        Ok((flags != 0).then_some(flags))
    }

    pub(super) fn set_wire(&self, flags: u32) -> Result<(), Error> {
        self.wire_map()?.set(0, flags, 0).map_err(|e| Error::map(names::WIRE, e))
    }

    fn wire_map(&self) -> Result<Array<MapData, u32>, Error> {
        self.map(names::WIRE, Map::Array)?.try_into().map_err(|e| Error::map(names::WIRE, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::Hook;

    #[test]
    fn a_pin_name_leads_back_to_mode_and_interface() {
        for mode in XdpMode::ALL {
            let name = format!("{}-17", mode.pin_prefix());
            assert_eq!(XdpMode::from_pin_name(&name), Some((mode, 17)));
            assert_eq!(Hook::from_pin_name(&name), None);
        }
        assert_eq!(XdpMode::from_pin_name("from_uplink-17"), None);
        assert_eq!(XdpMode::from_pin_name("prefilter_native-lo"), None);
    }
}
