//! What answers in the arms: echo servers of one byte, one that only takes, iperf3 and nginx.

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

use crate::http::Nginx;
use crate::options::Kind;
use crate::{port, rate};

/// After this a wish to end is noticed where there are no connections.
const PATIENCE: Duration = Duration::from_millis(500);
/// After this a connection that says nothing is given up. A client may be kept from its processor for a while.
const SILENCE: Duration = Duration::from_secs(3);

/// All servers of one end, each for both families and on a thread that sleeps while nobody asks it.
pub(crate) struct Servers {
    stop: Arc<AtomicBool>,
    listeners: Vec<Arc<TcpListener>>,
    threads: Vec<JoinHandle<()>>,
    _iperf: Service,
    _nginx: Option<Nginx>,
}

impl Servers {
    pub(crate) fn start(ns: &Namespace, kinds: &[Kind]) -> Self {
        let nginx = kinds.contains(&Kind::Http).then(|| Nginx::start(ns));
        let (stop, iperf) = (Arc::new(AtomicBool::new(false)), iperf3(ns));
        let mut servers =
            Self { stop, listeners: Vec::new(), threads: Vec::new(), _iperf: iperf, _nginx: nginx };
        port::ECHO.for_each(|port| servers.answer_connections(ns, port, Some(0)));
        port::FREE.for_each(|port| servers.answer_connections(ns, port, None));
        servers.answer_connections(ns, port::APART, Some(1));
        servers.take_datagrams(ns, *port::ECHO.start(), 0, answer_datagrams);
        servers.take_datagrams(ns, port::SINK, 1, rate::swallow);
        servers
    }

    fn answer_connections(&mut self, ns: &Namespace, port: u16, processor: Option<usize>) {
        let listener = ns.enter(|| Arc::new(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap()));
        self.listeners.push(Arc::clone(&listener));
        let stop = Arc::clone(&self.stop);
        self.threads.push(ns.spawn(move || match processor {
            Some(number) => on_processor(number, || answer_connections(&listener, &stop)),
            None => answer_connections(&listener, &stop),
        }));
    }

    fn take_datagrams(
        &mut self,
        ns: &Namespace,
        port: u16,
        processor: usize,
        take: fn(&UdpSocket, &AtomicBool),
    ) {
        let socket = ns.enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let stop = Arc::clone(&self.stop);
        self.threads.push(ns.spawn(move || on_processor(processor, || take(&socket, &stop))));
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
    stream.set_read_timeout(Some(SILENCE))?;
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
