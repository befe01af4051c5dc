//! Clients that ask as fast as they are answered.
//!
//! Where both ends are on one processor, nothing runs beside them: the time of one transaction is what it costs the processor in
//! both ends and all that is between. Where they are free, it is what somebody sees who thinks of no processor.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use tests::namespace::Namespace;
use tests::processor::on_processor;

use crate::measure::{Length, Measured};
use crate::port;

/// Who waits longer for an answer has lost it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// A way that loses more datagrams than this is not measured but broken.
const LOST: u32 = 5;
/// Packets of one transaction that there must be at least: question and answer, the acknowledgements ride with them.
const OF_QUESTION: u64 = 2;
/// Three to connect, question and answer, and one that closes.
const OF_CONNECTION: u64 = 6;

/// Which processors both ends are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processors {
    /// The first.
    One,
    /// Whichever is free.
    All,
}

impl Processors {
    /// The servers that are there too.
    fn ports(self) -> RangeInclusive<u16> {
        match self {
            Self::One => port::ECHO,
            Self::All => port::FREE,
        }
    }
}

/// One byte there and one back over one connection.
pub(crate) fn tcp_rr(
    ns: &Namespace,
    to: IpAddr,
    length: Length,
    processors: Processors,
) -> io::Result<Measured> {
    tcp_rr_by(ns, (to, *processors.ports().start()).into(), length, processors)
}

/// The same at one port, both ends on one processor.
pub(crate) fn tcp_rr_at(ns: &Namespace, to: SocketAddr, length: Length) -> io::Result<Measured> {
    tcp_rr_by(ns, to, length, Processors::One)
}

fn tcp_rr_by(ns: &Namespace, to: SocketAddr, length: Length, processors: Processors) -> io::Result<Measured> {
    inside(ns, processors, || {
        let mut stream = connect(to)?;
        repeat(length, OF_QUESTION, || ask(&mut stream))
    })
}

/// Connect, ask, close; over all ports in turn.
pub(crate) fn tcp_crr(
    ns: &Namespace,
    to: IpAddr,
    length: Length,
    processors: Processors,
) -> io::Result<Measured> {
    let mut ports = processors.ports().cycle();
    inside(ns, processors, || repeat(length, OF_CONNECTION, || open_and_ask(to, ports.next())))
}

/// The same over one port.
pub(crate) fn tcp_crr_at(ns: &Namespace, to: SocketAddr, length: Length) -> io::Result<Measured> {
    inside(ns, Processors::One, || repeat(length, OF_CONNECTION, || ask(&mut connect(to)?)))
}

/// One datagram there and one back.
pub(crate) fn udp_rr(ns: &Namespace, to: IpAddr, length: Length) -> io::Result<Measured> {
    inside(ns, Processors::One, || {
        let socket = UdpSocket::bind((any(to), 0))?;
        socket.connect((to, *port::ECHO.start()))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut lost = 0;
        repeat(length, OF_QUESTION, || ask_datagram(&socket, &mut lost))
    })
}

/// The address that stands for all of a host's own, of the same family.
pub(crate) fn any(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn inside<R: Send>(ns: &Namespace, processors: Processors, job: impl FnOnce() -> R + Send) -> R {
    match processors {
        Processors::One => ns.enter(|| on_processor(0, job)),
        Processors::All => ns.enter(job),
    }
}

pub(crate) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    let mut byte = [1];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)
}

fn open_and_ask(to: IpAddr, port: Option<u16>) -> io::Result<()> {
    let port = port.ok_or_else(|| io::Error::other("no port"))?;
    ask(&mut connect((to, port).into())?)
}

/// Asks until it is answered.
fn ask_datagram(socket: &UdpSocket, lost: &mut u32) -> io::Result<()> {
    loop {
        socket.send(&[1])?;
        match socket.recv(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && *lost < LOST => *lost += 1,
            other => return other.map(drop),
        }
    }
}

/// Transactions one after the other: some to warm up, then those that count.
fn repeat(
    length: Length,
    packets: u64,
    mut transaction: impl FnMut() -> io::Result<()>,
) -> io::Result<Measured> {
    let (warm, _) = count(length.warm_up, &mut transaction)?;
    let (done, time) = count(length.time, &mut transaction)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(Measured::of(done as f64 / time.as_secs_f64(), (warm + done) * packets))
}

fn count(time: Duration, transaction: &mut impl FnMut() -> io::Result<()>) -> io::Result<(u64, Duration)> {
    let (begin, mut done) = (Instant::now(), 0);
    loop {
        transaction()?;
        done += 1;
        let elapsed = begin.elapsed();
        if elapsed >= time {
            return Ok((done, elapsed));
        }
    }
}
