//! Frames of an interface of the host, past its own stack.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::sock_filter;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket};
use tokio::io::unix::AsyncFd;

use crate::model::Mac;

const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_HALF_BEHIND: u16 = 0x48;
const LOAD_LENGTH_OF_HEADER: u16 = 0xb1;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF`: what follows is told by the kernel instead of by the frame.
const BESIDE: u32 = 0xffff_f000;
/// `SKF_AD_PKTTYPE`
const PACKET_TYPE: u32 = BESIDE + 4;
/// `PACKET_OUTGOING`
const OUTGOING: u32 = 4;
/// `SKF_AD_VLAN_TAG_PRESENT`
const TAGGED: u32 = BESIDE + 48;

/// What a server sends to a client, in a frame that came in without a VLAN's tag: those of a VLAN are seen here too. Anything
/// else would fill the queue of the socket, whoever is on the LAN.
const FILTER: [sock_filter; 13] = [
    step(LOAD_BYTE, PACKET_TYPE),
    branch(JUMP_IF_EQUAL, OUTGOING, 10, 0),
    step(LOAD_BYTE, TAGGED),
    branch(JUMP_IF_EQUAL, 0, 0, 8),
    step(LOAD_HALF, 12),
    branch(JUMP_IF_EQUAL, 0x0800, 0, 6),
    step(LOAD_BYTE, 23),
    branch(JUMP_IF_EQUAL, 17, 0, 4),
    step(LOAD_LENGTH_OF_HEADER, 14),
    step(LOAD_HALF_BEHIND, 16),
    branch(JUMP_IF_EQUAL, 68, 0, 1),
    step(RETURN, 0xffff),
    step(RETURN, 0),
];

const fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code, jt: yes, jf: no, k }
}

/// Bytes of a MAC.
const MAC: u8 = 6;

/// A socket on one interface, for frames with their Ethernet header.
#[derive(Debug)]
pub(super) struct Socket(AsyncFd<OwnedFd>);

impl Socket {
    /// On an interface of this namespace; frames to `mac` are received too, which may be nobody's yet. Must be called within a
    /// tokio runtime.
    pub(super) fn on(interface: &str, mac: Mac) -> io::Result<Self> {
        let socket = open(interface, mac)?;
        // SAFETY: the descriptor is owned, so that it is open and the same for as long as this is.
        Ok(Self(unsafe { AsyncFd::register(socket) }?))
    }

    /// Sends a frame.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send_by(self.0.get_ref(), frame)
    }

    /// Waits for a frame, and returns how many bytes of the buffer it has.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|fd| Ok(recv(fd.as_raw_fd(), buffer, MsgFlags::empty())?));
            if let Ok(result) = read {
                return result;
            }
        }
    }
}

/// Sends one frame to which nobody answers.
pub(super) fn send_once(interface: &str, mac: Mac, frame: &[u8]) -> io::Result<()> {
    send_by(&open(interface, mac)?, frame)
}

fn send_by(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    Ok(send(socket.as_raw_fd(), frame, MsgFlags::empty()).map(drop)?)
}

/// Before it is bound it receives nothing, so that all that it does has passed the filter.
fn open(interface: &str, mac: Mac) -> io::Result<OwnedFd> {
    let index = i32::try_from(if_nametoindex(interface)?).map_err(io::Error::other)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    let mut filter = FILTER;
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    set(&socket, (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER), &program)?;
    let mut address = [0; 8];
    address[..usize::from(MAC)].copy_from_slice(&mac.0);
    let membership = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_UNICAST.try_into().map_err(io::Error::other)?,
        mr_alen: MAC.into(),
        mr_address: address,
    };
    set(&socket, (libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP), &membership)?;
    bind(&socket, index)?;
    Ok(socket)
}

fn set<T>(socket: &OwnedFd, (level, name): (libc::c_int, libc::c_int), value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the value is live and of the length that is passed; the kernel copies it, and the filter that one points to.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// To frames of every protocol: what is for a bridge's port or for an interface on this one is received like that by nobody
/// else.
fn bind(socket: &OwnedFd, index: i32) -> io::Result<()> {
    let protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET.try_into().map_err(io::Error::other)?,
        sll_protocol: protocol,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the address is live and of the length that is passed; the kernel copies it.
    let result = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
