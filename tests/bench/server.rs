//! What answers in the arms: echo servers of one byte, and iperf3.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use tests::namespace::Namespace;
use tests::process::{Service, eventually};
use tests::processor::on_processor;

use crate::port;

/// After this a connection that says nothing, or a wish to end, is noticed.
const PATIENCE: Duration = Duration::from_millis(500);

/// All servers of one end, each for both families and on a thread that sleeps while nobody asks it.
pub(crate) struct Servers {
    stop: Arc<AtomicBool>,
    listeners: Vec<Arc<TcpListener>>,
    threads: Vec<JoinHandle<()>>,
    _iperf: Service,
}

impl Servers {
    pub(crate) fn start(ns: &Namespace) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let bind = |port| Arc::new(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
        let listeners: Vec<Arc<TcpListener>> = ns.enter(|| port::ECHO.map(bind).collect());
        let serve = |listener: &Arc<TcpListener>| {
            let (listener, stop) = (Arc::clone(listener), Arc::clone(&stop));
            ns.spawn(move || on_processor(0, || answer_connections(&listener, &stop)))
        };
        let mut threads: Vec<JoinHandle<()>> = listeners.iter().map(serve).collect();
        let socket = ns.enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, *port::ECHO.start())).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let until = Arc::clone(&stop);
        threads.push(ns.spawn(move || on_processor(0, || answer_datagrams(&socket, &until))));
        Self { stop, listeners, threads, _iperf: iperf3(ns) }
    }
}

fn iperf3(ns: &Namespace) -> Service {
    let port = port::IPERF.to_string();
    let service = Service::start(ns.command("iperf3").args(["--server", "--port", &port]));
    let listening = format!("ss -Hltn sport = :{port}");
    eventually("iperf3 listens", Duration::from_secs(10), || !ns.out(&listening).is_empty());
    service
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for listener in &self.listeners {
            // Wakes who waits in accept.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One connection after the other, as there is one client: a thread for each would cost more than the connection.
fn answer_connections(listener: &TcpListener, stop: &AtomicBool) {
    while let Ok((stream, _)) = listener.accept() {
        // It ends when the client closes, or has gone without a word.
        let _ = answer(&stream);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

fn answer_datagrams(socket: &UdpSocket, stop: &AtomicBool) {
    let mut byte = [0];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, peer)) = socket.recv_from(&mut byte) {
            let _ = socket.send_to(&byte[..length], peer);
        }
    }
}
