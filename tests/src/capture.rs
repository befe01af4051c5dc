//! `AF_PACKET` sockets: frames as an interface sends and receives them.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::namespace::Namespace;
use crate::packet::{Offloaded, judge, layers};

/// Frames that a [`Capture`] keeps; later ones are judged and counted only.
const KEPT: usize = 4096;

/// From `linux/if_packet.h`; the libc crate has neither.
const PACKET_AUXDATA: libc::c_int = 8;
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
/// The number of the VLAN in a tag; above it are priority and eligibility (IEEE 802.1Q).
const VLAN_ID: u16 = 0x0fff;

/// Control message that comes with each frame once `PACKET_AUXDATA` is on (`struct tpacket_auxdata`).
#[repr(C)]
#[derive(Clone, Copy)]
struct Auxdata {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// One frame with what the kernel said about it.
#[derive(Debug, Clone)]
pub struct Frame {
    /// From the destination MAC on.
    pub bytes: Vec<u8>,
    /// Whether the interface sent it, or else received it.
    pub outgoing: bool,
    /// Whether its transport checksum is left to the device.
    pub offloaded: Offloaded,
    /// The VLAN of a tag that the kernel holds beside the bytes, which is where it puts every tag that it receives.
    pub vlan: Option<u16>,
}

impl Frame {
    /// Protocol, source and destination of an IPv4 packet.
    pub fn ipv4(&self) -> Option<(u8, Ipv4Addr, Ipv4Addr)> {
        let address = |at: usize| {
            let bytes: [u8; 4] = self.bytes.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(bytes))
        };
        if self.bytes.get(12..14)? != [0x08, 0x00] {
            return None;
        }
        Some((*self.bytes.get(23)?, address(26)?, address(30)?))
    }
}

/// A raw socket on one interface.
#[derive(Debug)]
pub struct RawSocket(OwnedFd);

impl RawSocket {
    /// Opens it on an interface of the namespace, for frames of all protocols that `filter` accepts.
    pub fn open(namespace: &Namespace, interface: &str, filter: &[libc::sock_filter]) -> Self {
        namespace.enter(|| Self::open_here(interface, filter)).unwrap_or_else(|e| panic!("{interface}: {e}"))
    }

    fn open_here(interface: &str, filter: &[libc::sock_filter]) -> io::Result<Self> {
        let name = std::ffi::CString::new(interface)?;
        // SAFETY: `name` is a C string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        // Protocol 0 receives nothing until bind, so no frame slips in before the filter is set.
        // SAFETY: a plain system call on integers.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: the descriptor was made above and nobody else has it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.set(libc::SOL_PACKET, PACKET_AUXDATA, &1_i32)?;
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(64_i32 << 20))?;
        let timeout = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        socket.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
        if !filter.is_empty() {
            let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
            let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
            socket.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        }
        socket.bind(i32::try_from(index).map_err(io::Error::other)?)?;
        Ok(socket)
    }

    fn bind(&self, index: i32) -> io::Result<()> {
        // SAFETY: sockaddr_ll is made of integers; all zero is a value of it.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
        address.sll_protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
        address.sll_ifindex = index;
        let length = u32::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
        // SAFETY: the pointer and the length are those of `address`, which outlives the call.
        check(unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), length) }).map(|_| ())
    }

    fn set<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        let length = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
        let pointer = (&raw const *value).cast();
        // SAFETY: the pointer and the length are those of `value`, which outlives the call.
        check(unsafe { libc::setsockopt(self.0.as_raw_fd(), level, option, pointer, length) }).map(|_| ())
    }

    /// Sends one frame as it is; once more, for a while, when the kernel has dropped it because its queue is full.
    pub fn send(&self, frame: &[u8]) {
        for _ in 0..1000 {
            // SAFETY: the pointer and the length are those of `frame`.
            let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            let error = io::Error::last_os_error();
            if sent >= 0 || error.raw_os_error() != Some(libc::ENOBUFS) {
                assert_eq!(usize::try_from(sent).ok(), Some(frame.len()), "{error}");
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("the kernel's queue is full and stays so");
    }

    /// Writes a frame that has come already to the buffer, and gives its length; `None` when none is there.
    pub fn take(&self, buffer: &mut [u8]) -> Option<usize> {
        let (at, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: the pointer and the length are those of `buffer`.
        let taken = unsafe { libc::recv(self.0.as_raw_fd(), at, length, libc::MSG_DONTWAIT) };
        usize::try_from(taken).ok()
    }

    /// The next frame; `None` when none came within 20 ms.
    pub fn receive(&self) -> Option<Frame> {
        let mut bytes = vec![0_u8; 1 << 17];
        let mut control = [0_u64; 16];
        // SAFETY: both are made of integers and pointers; all zero is a value of them.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { zeroed() };
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `message` is to a local that outlives the call, with its length.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        // A copy of the right size: the buffer is as large as the largest GSO frame.
        let bytes = bytes[..usize::try_from(length).ok()?].to_vec();
        // SAFETY: recvmsg succeeded, so `message` describes the control data that it wrote.
        let data = unsafe { auxdata(&message) };
        let has = |bit: u32| data.filter(|data| data.status & bit != 0);
        let offloaded = if has(TP_STATUS_CSUMNOTREADY).is_some() { Offloaded::Yes } else { Offloaded::No };
        let vlan = has(TP_STATUS_VLAN_VALID).map(|data| data.vlan_tci & VLAN_ID);
        Some(Frame { bytes, outgoing: from.sll_pkttype == libc::PACKET_OUTGOING, offloaded, vlan })
    }
}

/// Finds the auxiliary data of a frame.
///
/// # Safety
///
/// `message` must be as a successful recvmsg left it, with its control buffer still alive.
unsafe fn auxdata(message: &libc::msghdr) -> Option<Auxdata> {
    // SAFETY: the caller vouches for the message; CMSG_FIRSTHDR gives null or a header inside its buffer,
    // and the kernel wrote an Auxdata behind a header of this level and type. Alignment is not assumed.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message).as_ref()?;
        let ours = header.cmsg_level == libc::SOL_PACKET && header.cmsg_type == PACKET_AUXDATA;
        ours.then(|| libc::CMSG_DATA(header).cast::<Auxdata>().read_unaligned())
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Everything a capture has seen so far.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// The first frames.
    pub frames: Vec<Frame>,
    /// How many there were in all.
    pub total: usize,
    /// What [`judge`] said about those with wrong checksums.
    pub wrong: Vec<String>,
}

impl Seen {
    /// Fails the test when a checksum was wrong, or when nothing was seen at all.
    pub fn assert_checksums(&self) {
        assert!(self.total > 0, "the capture saw no frame");
        assert!(self.wrong.is_empty(), "{} wrong: {:#?}", self.wrong.len(), self.wrong.first());
    }
}

/// Records an interface on a thread until it is dropped.
#[derive(Debug)]
pub struct Capture {
    seen: Arc<Mutex<Seen>>,
    /// How often nothing was left in the socket.
    idle: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts to record what passes the filter; an empty filter lets everything pass.
    pub fn start(namespace: &Namespace, interface: &str, filter: &[libc::sock_filter]) -> Self {
        let socket = RawSocket::open(namespace, interface, filter);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let idle = Arc::new(AtomicU64::new(0));
        let (record, empty, until) = (Arc::clone(&seen), Arc::clone(&idle), Arc::clone(&stop));
        let thread = thread::spawn(move || watch(&socket, &record, &empty, &until));
        Self { seen, idle, stop, thread: Some(thread) }
    }

    /// What was seen so far, once the wire has been quiet for a moment.
    pub fn seen(&self) -> Seen {
        // The first may have begun before us; the second shows that what had come by now is noted.
        let drained = self.idle.load(Ordering::Acquire) + 2;
        let mut before = usize::MAX;
        loop {
            let is_drained = self.idle.load(Ordering::Acquire) >= drained;
            let now = self.seen.lock().unwrap().total;
            if is_drained && now == before {
                return self.seen.lock().unwrap().clone();
            }
            before = now;
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn watch(socket: &RawSocket, record: &Mutex<Seen>, idle: &AtomicU64, until: &AtomicBool) {
    loop {
        // Only an empty socket ends the watch, so that what was queued before the end counts.
        match socket.receive() {
            Some(frame) => note(&mut record.lock().unwrap(), frame),
            None if until.load(Ordering::Relaxed) => return,
            None => {
                idle.fetch_add(1, Ordering::Release);
            }
        }
    }
}

fn note(seen: &mut Seen, frame: Frame) {
    seen.total += 1;
    if let Err(wrong) = judge(&frame.bytes, frame.offloaded) {
        let head = &frame.bytes[..frame.bytes.len().min(128)];
        seen.wrong.push(format!("{wrong}, outgoing {}: {:?}", frame.outgoing, layers(head)));
    }
    if seen.frames.len() < KEPT {
        seen.frames.push(frame);
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
