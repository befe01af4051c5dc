//! One flow in both beds: the tuple as its client knows it, and as its server sees it in either bed.

use std::collections::VecDeque;
use std::time::Instant;

use crate::beds::{End, Who};
use crate::canonical::Naming;
use crate::frame::{self, Tuple};
use crate::outcome::is_doubtful;
use crate::stream::{Side, Stream};

/// Which way it takes through the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Masqueraded,
    Published,
    Hairpin,
    Local,
}

/// Steps of a flow that a failure shows.
const REMEMBERED: usize = 12;

#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) way: Way,
    pub(crate) client: End,
    pub(crate) server: End,
    /// As the client sends it.
    pub(crate) tuple: Tuple,
    /// As the server receives it, in each bed.
    pub(crate) seen: [Option<Tuple>; 2],
    /// Of TCP only.
    pub(crate) stream: Option<Stream>,
    /// The last frame that came out, in each bed, at the client and at the server.
    delivered: [[Option<Vec<u8>>; 2]; 2],
    /// Of TCP: the highest acknowledgment that was sent to the client and to the server.
    acked: [Option<u32>; 2],
    pub(crate) history: VecDeque<String>,
    /// Whether its first packet was answered by a RST.
    pub(crate) refused: bool,
    /// Whether a segment of it was not what its receiver expects.
    pub(crate) doubtful: bool,
    pub(crate) steps_left: usize,
    pub(crate) touched: Instant,
}

/// Whether one sequence number comes before another (RFC 9293, 3.4).
fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}

impl Flow {
    pub(crate) fn new(way: Way, (client, server): (End, End), tuple: Tuple, steps: usize) -> Self {
        Self {
            way,
            client,
            server,
            tuple,
            seen: [None; 2],
            stream: None,
            delivered: [const { [const { None }; 2] }; 2],
            acked: [None; 2],
            history: VecDeque::new(),
            refused: false,
            doubtful: false,
            steps_left: steps,
            touched: Instant::now(),
        }
    }

    pub(crate) fn end(&self, side: Side) -> End {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    /// Whether both beds have let the first packet through.
    pub(crate) fn is_open(&self) -> bool {
        self.seen.iter().all(Option::is_some)
    }

    /// The tuple that a side sends with, in one bed.
    pub(crate) fn tuple_from(&self, side: Side, who: Who) -> Tuple {
        match side {
            Side::Client => self.tuple,
            Side::Server => self.seen[who as usize].unwrap_or(self.tuple).reversed(),
        }
    }

    /// The port that a bed has chosen for the client.
    pub(crate) fn naming(&self, who: Who) -> Option<Naming> {
        let seen = self.seen[who as usize]?;
        Some(Naming { chosen: seen.src.1, name: self.tuple.src.1 })
    }

    pub(crate) fn delivered(&self, side: Side) -> Option<[&Vec<u8>; 2]> {
        let at = |who: Who| self.delivered[who as usize][side as usize].as_ref();
        Some([at(Who::Nftables)?, at(Who::Netdp)?])
    }

    pub(crate) fn deliver(&mut self, who: Who, side: Side, frame: &[u8]) {
        self.delivered[who as usize][side as usize] = Some(frame.to_vec());
    }

    /// Takes in what a side has sent to the other, whether or not it arrives.
    pub(crate) fn acknowledge(&mut self, from: Side, frame: &[u8]) {
        if let Some(ack) = frame::acknowledgment(frame) {
            let acked = &mut self.acked[from.other() as usize];
            *acked = Some(acked.map_or(ack, |known| if is_before(known, ack) { ack } else { known }));
        }
    }

    /// Whether an error of a side is about a segment of the other side that was acknowledged before.
    pub(crate) fn is_acknowledged(&self, error_of: Side, error: &[u8]) -> bool {
        let sender = error_of.other();
        match (self.acked[sender as usize], frame::quoted_sequence(error)) {
            (Some(acked), Some(seq)) => self.stream.is_some() && is_before(seq, acked),
            _ => false,
        }
    }

    pub(crate) fn remember(&mut self, line: String) {
        self.refused |= line.contains("tcp rst to a syn:");
        self.doubtful |= is_doubtful(&line);
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back(line);
    }
}
