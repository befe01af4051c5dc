//! The way from port 53 of every gateway to the sockets of the resolver.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use aya::maps::{Map, SockMap};
use aya::programs::SkLookup;
use netdp_common::names;

use super::Datapath;
use super::error::Error;

/// The way as long as this lives; it ends with the process too.
#[derive(Debug)]
#[must_use = "the way is closed when this is dropped"]
pub struct Served {
    _program: SkLookup,
}

impl Datapath {
    /// Has a socket, by its number in [`netdp_common::resolver`], take the place of the one that was there.
    ///
    /// # Errors
    /// The datapath is of a release without names, or the kernel refuses.
    pub fn put_resolver<S: AsRawFd>(&self, number: u32, socket: &S) -> Result<(), Error> {
        if !self.map_path(names::RESOLVERS).exists() {
            return Err(Error::Earlier { name: names::RESOLVERS });
        }
        let failed = |e| Error::map(names::RESOLVERS, e);
        let map = self.map(names::RESOLVERS, Map::SockMap)?;
        let mut sockets: SockMap<_> = map.try_into().map_err(failed)?;
        sockets.set(number, socket, 0).map_err(failed)
    }

    /// Begins to hand over to these sockets, in the calling thread's network namespace.
    ///
    /// # Errors
    /// As for [`Datapath::put_resolver`].
    pub fn serve_names(&self) -> Result<Served, Error> {
        let failed = |e| Error::program(names::RESOLVER, e);
        let netns = File::open("/proc/thread-self/ns/net").map_err(|e: io::Error| {
            Error::pin("opening the network namespace", "/proc/thread-self/ns/net", e)
        })?;
        let mut program = SkLookup::from_pin(self.program_path(names::RESOLVER)).map_err(failed)?;
        program.attach(&netns).map_err(failed)?;
        Ok(Served { _program: program })
    }
}
