//! Endpoints on a LAN say who they are as soon as they are there: whoever had the address before may be known by it for half a
//! minute, and nobody would ask anew.
//!
//! The networks of netdp's own bridges need none of that, as the programs know all who are there.

mod frame;
mod socket;

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use frame::announcement;
use socket::Socket;

use crate::Error;
use crate::host::netns;

/// Pauses before each announcement. The first may come before the ports on its way carry anything, and any may be lost; libnetwork
/// sends three too (`advertise_addr_nmsgs`), with a second between them.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(200)];

/// Those that are still speaking.
static SPEAKING: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Who announces what.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// Number of the interface in its namespace.
    pub index: u32,
    /// The interface's MAC.
    pub mac: [u8; 6],
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Announces addresses from a namespace, and goes on with that beside whatever follows; [`finish`] waits for its end.
pub fn begin(ns: impl AsFd, announcement: &Announcement) -> Result<(), Error> {
    let opened = netns::in_netns(ns.as_fd(), || Socket::open(announcement.index))?;
    let socket = opened.map_err(Error::io("open a packet socket"))?;
    let frames: Vec<Vec<u8>> =
        announcement.addresses.iter().map(|address| self::announcement(announcement.mac, *address)).collect();
    let mut speaking = SPEAKING.lock().unwrap_or_else(PoisonError::into_inner);
    speaking.retain(|thread| !thread.is_finished());
    speaking.push(thread::spawn(move || speak(&socket, &frames)));
    Ok(())
}

/// An interface that has gone meanwhile has nothing to say.
fn speak(socket: &Socket, frames: &[Vec<u8>]) {
    for pause in PAUSES {
        thread::sleep(pause);
        for frame in frames {
            if let Err(error) = socket.send(frame) {
                tracing::debug!(%error, "an address is not announced");
            }
        }
    }
}

/// Waits until everything is said.
pub fn finish() {
    let speaking = std::mem::take(&mut *SPEAKING.lock().unwrap_or_else(PoisonError::into_inner));
    for thread in speaking {
        if thread.join().is_err() {
            tracing::warn!("an address was not announced");
        }
    }
}
