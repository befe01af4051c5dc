//! A DHCP server that answers as a test says: also as none should.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use crate::namespace::Namespace;

/// A server on one interface, until it is dropped.
#[derive(Debug)]
pub struct DhcpServer {
    heard: Arc<Mutex<Vec<Message>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DhcpServer {
    /// Starts one that sends to everybody what `answer` makes of a client's message.
    pub fn start(
        ns: &Namespace,
        interface: &str,
        mut answer: impl FnMut(&Message) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = ns.enter(|| UdpSocket::bind("0.0.0.0:67")).unwrap();
        bind_to(&socket, interface);
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (heard, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, end) = (Arc::clone(&heard), Arc::clone(&over));
        let serve = move || {
            let mut buffer = [0; 2048];
            while !end.load(Ordering::Relaxed) {
                let Ok(length) = socket.recv(&mut buffer) else { continue };
                let Ok(message) = Message::decode(&mut Decoder::new(&buffer[..length])) else { continue };
                for bytes in answer(&message) {
                    socket.send_to(&bytes, "255.255.255.255:68").unwrap();
                }
                log.lock().unwrap().push(message);
            }
        };
        Self { heard, over, thread: Some(std::thread::spawn(serve)) }
    }

    /// Addresses that clients have named in messages of a kind: those that they have, or else those that they ask for.
    pub fn heard(&self, kind: MessageType) -> Vec<Ipv4Addr> {
        let heard = self.heard.lock().unwrap();
        let of_kind = heard.iter().filter(|message| message.opts().has_msg_type(kind));
        of_kind.map(|message| asked(message).unwrap_or(message.ciaddr())).collect()
    }
}

impl Drop for DhcpServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn bind_to(socket: &UdpSocket, interface: &str) {
    let length = interface.len().try_into().unwrap();
    // SAFETY: the name is live and of the length that is passed; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            interface.as_ptr().cast(),
            length,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// The address that a client asks for.
pub fn asked(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
        _ => None,
    }
}

/// An answer of a server that gives an address for so many seconds.
pub fn answer(
    to: &Message,
    kind: MessageType,
    server: Ipv4Addr,
    (address, seconds): (Ipv4Addr, u32),
) -> Vec<u8> {
    let mut message = Message::default();
    message.set_opcode(Opcode::BootReply).set_xid(to.xid()).set_chaddr(to.chaddr()).set_yiaddr(address);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(server));
    options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
    options.insert(DhcpOption::Router(vec![server]));
    options.insert(DhcpOption::AddressLeaseTime(seconds));
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}
