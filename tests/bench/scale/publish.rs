//! How long it takes to publish a port, or ten thousand, and to withdraw them.

use std::cell::RefCell;

use tests::namespace::Namespace;
use tests::topology::{Bed, Host};

use super::clock::milliseconds;
use super::effort::Effort;
use super::figure::{Bar, Row, Sweep};
use super::turn::in_turn;
use crate::ending::Ending;

/// What is published with an attach.
const ONE_PORT: &str = "8080:80";
const MANY_PORTS: &str = "20000-29999:20000-29999";
/// The columns: without any, with the one, with the many.
const PORTS: [u32; 3] = [0, 1, 10_000];
/// Milliseconds.
const ONE: Bar = Bar::P99(1.0);
const RANGE: Bar = Bar::Median(50.0);

/// One container, attached and detached again and again.
struct Publishing {
    host: Host,
    ns: Namespace,
}

/// Times of attaches without ports and of attaches with them, and the same of the detaches, in pairs.
struct Times {
    attached: Vec<Vec<f64>>,
    detached: Vec<Vec<f64>>,
}

/// One container without ports, with one, and with ten thousand.
pub(super) fn sweep(effort: &Effort) -> Result<Sweep, Ending> {
    let bed = Bed::new();
    let host = bed.unwatched_host("host");
    host.up_once();
    let publishing = Publishing { host, ns: bed.namespace("server") };
    let one = publishing.beside_none(effort.commands, ONE_PORT)?;
    let many = publishing.beside_none(effort.ranges, MANY_PORTS)?;
    let beyond = |one: &[Vec<f64>], many: &[Vec<f64>]| {
        let (one, many) = (beyond_none(one), beyond_none(many));
        ([Vec::new(), one, Vec::new()].to_vec(), [Vec::new(), Vec::new(), many].to_vec())
    };
    let (one_published, many_published) = beyond(&one.attached, &many.attached);
    let (one_withdrawn, many_withdrawn) = beyond(&one.detached, &many.detached);
    let whole =
        |one: Vec<Vec<f64>>, many: Vec<Vec<f64>>| one.into_iter().chain(many.into_iter().skip(1)).collect();
    Ok(Sweep {
        of: "ports of one container",
        sizes: PORTS.to_vec(),
        rows: vec![
            Row::new("one port published", "ms", one_published).at_most(ONE),
            Row::new("range published", "ms", many_published).at_most(RANGE),
            Row::new("one port withdrawn", "ms", one_withdrawn),
            Row::new("range withdrawn", "ms", many_withdrawn),
            Row::new("attach", "ms", whole(one.attached, many.attached)),
            Row::new("detach", "ms", whole(one.detached, many.detached)),
        ],
        notes: vec![
            "No command publishes a port of a container that is there: published is an attach with ports less the attach without"
                .to_owned(),
            "them of the same round, withdrawn is a detach less the other. Their p99 has the noise of two processes.".to_owned(),
        ],
    })
}

impl Publishing {
    /// In turn without and with these ports.
    fn beside_none(&self, rounds: u32, ports: &str) -> Result<Times, Ending> {
        let path = self.ns.path().to_str().unwrap();
        let attach = ["attach", "--netns", path, "--name", self.ns.name(), "-p", ports];
        let without = attach.len() - 2;
        let detached = RefCell::new(vec![Vec::new(); 2]);
        let attached = in_turn(rounds, 2, |at| {
            let attach = if at == 0 { &attach[..without] } else { &attach[..] };
            let took = milliseconds(self.host.command(attach));
            let detach = self.host.command(&["detach", self.ns.name()]);
            detached.borrow_mut()[at].push(milliseconds(detach));
            Ok(took)
        })?;
        Ok(Times { attached, detached: detached.into_inner() })
    }
}

/// What the values of the second column have more than those of the first, round by round.
fn beyond_none(values: &[Vec<f64>]) -> Vec<f64> {
    values[1].iter().zip(&values[0]).map(|(with, without)| with - without).collect()
}
