//! Datagrams at a fixed rate, far less than what the machine could do: what one packet costs all processors together, in both
//! ends and all that is between.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use tests::namespace::Namespace;
use tests::processor::on_processor;

use crate::busy::Moment;
use crate::load::any;
use crate::measure::{Length, Measured};
use crate::port;

/// Bytes of one datagram.
const SIZE: usize = 64;
/// So many are sent at once,
const BURST: u64 = 16;
/// and so long it is from one burst to the next: 25 000 per second, which docker-proxy can pass on too. It has no measure in
/// common with the kernel's tick, which would else find the processors busy always or never.
const PERIOD: Duration = Duration::from_micros(641);
/// So many times longer than others it is measured, because the kernel tells idle time in hundredths of a second.
pub(crate) const LONGER: u32 = 2;
/// A way that loses more is not measured but broken.
const LOSS: f64 = 0.01;
/// How much later than it should the last burst may be.
const LATE: f64 = 0.1;
/// Share of the processors' time above which all of it is used by something, whatever a packet costs.
const SATURATED: f64 = 0.97;
/// Bytes that the sink holds when its processor does something else for a moment: what is lost, is lost on the way.
const BUFFER: usize = 16 << 20;
/// By then the last one has arrived.
pub(crate) const DRAIN: Duration = Duration::from_millis(50);

/// What all sinks of this process have received: only one is sent to at a time.
static RECEIVED: AtomicU64 = AtomicU64::new(0);

/// Takes whatever comes.
pub(crate) fn swallow(socket: &UdpSocket, stop: &AtomicBool) {
    setsockopt(socket, RcvBufForce, &BUFFER).unwrap();
    let mut datagram = [0; SIZE];
    while !stop.load(Ordering::Relaxed) {
        if socket.recv(&mut datagram).is_ok() {
            RECEIVED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Nanoseconds of processor time for each packet that arrived.
pub(crate) fn udp(ns: &Namespace, to: IpAddr, length: Length) -> io::Result<Measured> {
    ns.enter(|| on_processor(0, || cost(&connected(to)?, length)))
}

fn connected(to: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((any(to), 0))?;
    socket.connect((to, port::SINK))?;
    Ok(socket)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of packets, far below 2^52")]
fn cost(socket: &UdpSocket, length: Length) -> io::Result<Measured> {
    let before = RECEIVED.load(Ordering::Relaxed);
    offer(socket, length.warm_up)?;
    thread::sleep(DRAIN);
    let (begun, moment) = (RECEIVED.load(Ordering::Relaxed), Moment::now()?);
    let time = length.time * LONGER;
    let (sent, taken) = offer(socket, time)?;
    let busy = moment.busy_since()?;
    thread::sleep(DRAIN);
    let ended = RECEIVED.load(Ordering::Relaxed);
    let received = ended - begun;
    let loss = 1.0 - received as f64 / sent as f64;
    if loss > LOSS {
        return Err(io::Error::other(format!("{:.1} % of {sent} datagrams were lost", loss * 100.0)));
    }
    if taken > time.mul_f64(1.0 + LATE) {
        let why = format!("to send {sent} datagrams took {taken:.1?} instead of {time:.1?}");
        return Err(io::Error::other(why));
    }
    if busy.share > SATURATED {
        let why =
            format!("the processors were {:.0} % busy: no packet's cost can be told", busy.share * 100.0);
        return Err(io::Error::other(why));
    }
    let measured = Measured::of(busy.time.as_secs_f64() * 1e9 / received as f64, ended - before);
    Ok(measured.with("loss", loss).with("sent_per_second", sent as f64 / taken.as_secs_f64()))
}

/// Sends at the rate what is to be sent in this time. Says how much that was, and how long it took.
fn offer(socket: &UdpSocket, time: Duration) -> io::Result<(u64, Duration)> {
    let begin = Instant::now();
    let (mut due, mut sent) = (Duration::ZERO, 0);
    while due < time {
        thread::sleep(due.saturating_sub(begin.elapsed()));
        for _ in 0..BURST {
            socket.send(&[0; SIZE])?;
        }
        sent += BURST;
        due += PERIOD;
    }
    thread::sleep(time.saturating_sub(begin.elapsed()));
    Ok((sent, begin.elapsed()))
}
