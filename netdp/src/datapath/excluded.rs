//! The rows of the map `EXCLUDED`: the prefixes that a network reaches untranslated.

use aya::maps::Map;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};
use netdp_common::{Destination, DestinationKey, names};

use super::Datapath;
use super::entry::gone;
use super::error::Error;

impl Datapath {
    pub(super) fn put_excluded(&self, key: &DestinationKey) -> Result<(), Error> {
        let result = self.excluded()?.insert(&lpm_key(key), key.bits(), 0);
        result.map_err(|error| self.insert_error(names::EXCLUDED, error))
    }

    pub(super) fn delete_excluded(&self, key: &DestinationKey) -> Result<(), Error> {
        gone(names::EXCLUDED, self.excluded()?.remove(&lpm_key(key)))
    }

    /// The row of exactly this prefix. The kernel also finds a shorter one, whose value is another length.
    pub(super) fn find_excluded(&self, key: &DestinationKey) -> Result<Option<DestinationKey>, Error> {
        match self.excluded()?.get(&lpm_key(key), 0) {
            Ok(bits) => Ok((bits == key.bits()).then_some(*key)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(Error::map(names::EXCLUDED, error)),
        }
    }

    pub(super) fn excluded_keys(&self) -> Result<Vec<DestinationKey>, Error> {
        let excluded = self.excluded()?;
        let keys = excluded.keys().map(|key| {
            let key = key.map_err(|e| Error::map(names::EXCLUDED, e))?;
            Ok(DestinationKey::from_bits(key.prefix_len(), key.data()))
        });
        keys.collect()
    }

    fn excluded(&self) -> Result<LpmTrie<MapData, Destination, u32>, Error> {
        let name = names::EXCLUDED;
        self.map(name, Map::LpmTrie)?.try_into().map_err(|e| Error::map(name, e))
    }
}

fn lpm_key(key: &DestinationKey) -> Key<Destination> {
    Key::new(key.bits(), key.destination)
}
