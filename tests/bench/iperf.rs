//! Streams of iperf3, its client on one processor and its server on the next.

use std::net::IpAddr;

use serde_json::Value;
use tests::namespace::Namespace;
use tests::process::run;
use tests::processor;

use crate::measure::{Length, Measured};
use crate::port;

/// The most that one packet holds before the network card would cut it (GSO).
const LARGEST: f64 = 65_536.0;

/// Gbit/s at the receiver.
pub(crate) fn stream(
    ns: &Namespace,
    to: IpAddr,
    length: Length,
    options: &[&str],
) -> Result<Measured, String> {
    let (to, port) = (to.to_string(), port::IPERF.to_string());
    let processors = processor::allowed();
    let ends = format!("{},{}", processors[0], processors[1 % processors.len()]);
    let mut command = ns.command("iperf3");
    command.args(["--json", "--client", &to, "--port", &port, "--connect-timeout", "3000", "-A", &ends]);
    let ran = run(command.args(length.of_stream()).args(options));
    let report: Value = serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}\n{ran}"))?;
    let end = &report["end"]["sum_received"];
    match (report["error"].as_str(), end["bits_per_second"].as_f64(), end["bytes"].as_f64()) {
        (None, Some(bits), Some(bytes)) if bytes > 0.0 => Ok(Measured::of(bits / 1e9, packets(bytes))),
        (error, ..) => Err(format!("iperf3: {}", error.unwrap_or("nothing was received"))),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of packets")]
fn packets(bytes: f64) -> u64 {
    (bytes / LARGEST).ceil() as u64
}
