//! One-byte transactions between two namespaces, both ends on one processor: what one costs.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use tests::namespace::Namespace;
use tests::topology::Host;

use crate::ending::Ending;
use crate::load;
use crate::measure::{Length, Measured};
use crate::port;

/// Percent of the packets which there must have been that must be counted.
const COUNTED: u64 = 95;

/// Who asks whom.
pub(super) struct Way<'a> {
    from: &'a Namespace,
    to: SocketAddr,
    host: &'a Host,
    /// What netdp counts its packets as.
    reasons: &'static [&'static str],
    counted_before: u64,
    sent: Cell<u64>,
}

impl<'a> Way<'a> {
    /// To the echo server there, by way of a host that counts its packets so.
    pub(super) fn new(
        from: &'a Namespace,
        to: impl Into<IpAddr>,
        host: &'a Host,
        reasons: &'static [&'static str],
    ) -> Self {
        let to = (to.into(), *port::ECHO.start()).into();
        Self { from, to, host, reasons, counted_before: counted(host, reasons), sent: Cell::new(0) }
    }

    /// Microseconds of one byte there and one back over one connection.
    pub(super) fn rr(&self, length: Length) -> Result<f64, String> {
        self.microseconds(load::tcp_rr_at(self.from, self.to, length))
    }

    /// Microseconds to connect, ask and close.
    pub(super) fn crr(&self, length: Length) -> Result<f64, String> {
        self.microseconds(load::tcp_crr_at(self.from, self.to, length))
    }

    fn microseconds(&self, measured: io::Result<Measured>) -> Result<f64, String> {
        let measured = measured.map_err(|error| self.broken(&error))?;
        self.sent.set(self.sent.get() + measured.packets);
        Ok(1e6 / measured.value)
    }

    /// With what netdp has dropped, which may be why.
    fn broken(&self, error: &io::Error) -> String {
        let drops = self.host.json(&["drops"]);
        let drop =
            |entry: &Value| format!("{} {}", entry["packets"], entry["reason"].as_str().unwrap_or_default());
        let drops: Vec<String> =
            drops.as_array().unwrap().iter().filter(|entry| entry["packets"] != 0).map(drop).collect();
        let host = self.host.ns.name();
        format!("to {} by {host}: {error}; dropped there: {}", self.to, drops.join(", "))
    }

    /// Fails unless the packets of all that was measured went this way. Asked once, because to count takes the longer the more
    /// flows there are.
    pub(super) fn prove(&self) -> Result<(), Ending> {
        let grown = counted(self.host, self.reasons) - self.counted_before;
        let sent = self.sent.get();
        if grown >= sent / 100 * COUNTED {
            return Ok(());
        }
        let reasons = self.reasons.join(", ");
        Err(Ending::Failed(format!("of {sent} packets to {} netdp counted {grown} as {reasons}", self.to)))
    }
}

fn counted(host: &Host, reasons: &[&str]) -> u64 {
    let status = host.json(&["status"]);
    let counts = |entry: &&Value| reasons.iter().any(|reason| entry["reason"] == *reason);
    let forwards = status["forwards"].as_array().unwrap().iter().filter(counts);
    forwards.filter_map(|entry| entry["packets"].as_u64()).sum()
}
