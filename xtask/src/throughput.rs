//! iperf3 over each way that packets take, beside a bare veth pair.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::stage::Stage;

/// One way of traffic: who sends to which address.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// What was received, in Gbit/s.
struct Speed {
    tcp: f64,
    tcp_back: f64,
    udp: f64,
    /// Share of the UDP datagrams that did not arrive, in percent: one sender at full speed overruns a receiver.
    udp_lost: f64,
}

/// Measures all ways one after the other and prints a table. The first and the last are without netdp: their mean is
/// what all are compared with.
pub(crate) fn compare(stage: &Stage, ways: &[Way]) -> Result<()> {
    let mut rows = Vec::new();
    for way in ways {
        rows.push((way, measure(stage, way).with_context(|| format!("iperf3, {}", way.name))?));
    }
    let bare =
        [rows.first(), rows.last()].into_iter().flatten().map(|(_, speed)| speed.tcp).sum::<f64>() / 2.0;
    println!(
        "\n{:<44}{:>7}{:>8}{:>10}{:>7}{:>10}",
        "Gbit/s received", "TCP", "of bare", "TCP back", "UDP", "UDP lost"
    );
    for (way, Speed { tcp, tcp_back, udp, udp_lost }) in rows {
        let share = 100.0 * tcp / bare;
        println!("{:<44}{tcp:>7.1}{share:>7.0}%{tcp_back:>10.1}{udp:>7.1}{udp_lost:>9.0}%", way.name);
    }
    println!();
    Ok(())
}

fn measure(stage: &Stage, way: &Way) -> Result<Speed> {
    let tcp = received(&iperf3(stage, way, "-t 2")?)?;
    let tcp_back = received(&iperf3(stage, way, "-t 1 --reverse")?)?;
    // Smaller than every MTU on the way: on `lo` iperf3 would choose datagrams that a veth cannot carry.
    let udp = iperf3(stage, way, "-t 1 --udp --bitrate 0 --length 1400")?;
    let sum = &udp["end"]["sum"];
    let udp_lost = sum["lost_percent"].as_f64().context("iperf3 reports no lost_percent")?;
    let sent = sum["bits_per_second"].as_f64().context("iperf3 reports no bits_per_second")?;
    Ok(Speed { tcp, tcp_back, udp: sent * (1.0 - udp_lost / 100.0) / 1e9, udp_lost })
}

fn iperf3(stage: &Stage, way: &Way, options: &str) -> Result<Value> {
    let line = format!("iperf3 --client {} {options}", way.to);
    println!("{:>9} $ {line}", way.from);
    let report = stage.run(way.from, &format!("{line} --json"))?;
    serde_json::from_str(&report).context("iperf3 printed no JSON")
}

/// TCP's goodput at the receiver, in Gbit/s.
fn received(report: &Value) -> Result<f64> {
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("iperf3 reports no sum_received")? / 1e9)
}
