//! The rows of the map `SOURCES`: the prefixes that may use a published port.

use aya::maps::Map;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};
use netdp_common::{Source, SourceKey, names};

use super::Datapath;
use super::entry::gone;
use super::error::Error;

impl Datapath {
    pub(super) fn put_source(&self, key: &SourceKey) -> Result<(), Error> {
        let result = self.sources()?.insert(&lpm_key(key), key.bits(), 0);
        result.map_err(|error| self.insert_error(names::SOURCES, error))
    }

    pub(super) fn delete_source(&self, key: &SourceKey) -> Result<(), Error> {
        gone(names::SOURCES, self.sources()?.remove(&lpm_key(key)))
    }

    /// The row of exactly this prefix. The kernel also finds a shorter one, whose value is another length.
    pub(super) fn find_source(&self, key: &SourceKey) -> Result<Option<SourceKey>, Error> {
        match self.sources()?.get(&lpm_key(key), 0) {
            Ok(bits) => Ok((bits == key.bits()).then_some(*key)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(Error::map(names::SOURCES, error)),
        }
    }

    /// Whether a source is in the list of a port.
    pub(super) fn lists(&self, source: &Source) -> Result<bool, Error> {
        match self.sources()?.get(&Key::new(Source::BITS, *source), 0) {
            Ok(_) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(Error::map(names::SOURCES, error)),
        }
    }

    pub(super) fn source_keys(&self) -> Result<Vec<SourceKey>, Error> {
        let sources = self.sources()?;
        let keys = sources.keys().map(|key| {
            let key = key.map_err(|e| Error::map(names::SOURCES, e))?;
            Ok(SourceKey::from_bits(key.prefix_len(), key.data()))
        });
        keys.collect()
    }

    fn sources(&self) -> Result<LpmTrie<MapData, Source, u32>, Error> {
        let name = names::SOURCES;
        self.map(name, Map::LpmTrie)?.try_into().map_err(|e| Error::map(name, e))
    }
}

fn lpm_key(key: &SourceKey) -> Key<Source> {
    Key::new(key.bits(), key.source)
}
