//! A TCP connection as its two ends would lead it, and what neither would do.

use tests::packet::{ACK, FIN, RST, SYN};

use crate::frame::Segment;
use crate::random::Random;

const PSH: u8 = 0x08;
const URG: u8 = 0x20;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    SynSent,
    SynReceived,
    Established,
    Closed,
}

/// What the ends take from a segment that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Becomes(Stage),
    Data(usize),
    Fin,
    /// The same tuple again, from the beginning.
    Again(u32),
}

/// One segment with what it is called and what follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub(crate) from: Side,
    pub(crate) label: &'static str,
    pub(crate) segment: Segment,
    effect: Effect,
}

/// Both ends of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    stage: Stage,
    /// The next sequence number of client and server.
    next: [u32; 2],
    /// What the other has not acknowledged yet.
    unacknowledged: [usize; 2],
    fin: [bool; 2],
    last: [Option<Move>; 2],
}

/// As much as may be under way, with some room below the window.
const IN_FLIGHT: usize = 50_000;

impl Stream {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            stage: Stage::New,
            next: [random.u32(), random.u32()],
            unacknowledged: [0; 2],
            fin: [false; 2],
            last: [None, None],
        }
    }

    /// Whether there is nothing more to come.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Closed || self.fin == [true; 2]
    }

    pub(crate) fn next(&self, random: &mut Random) -> Move {
        match self.stage {
            Stage::New => self.first(random),
            Stage::SynSent => self.syn_sent(random),
            Stage::SynReceived => self.syn_received(random),
            Stage::Established if self.fin == [true; 2] => self.after(random),
            Stage::Established => self.established(random),
            Stage::Closed => self.after(random),
        }
    }

    /// What well-behaved ends would send now, to be made junk of.
    pub(crate) fn ordinary(&self) -> Move {
        let ack = |from| self.make(from, "ack", ACK, Effect::None);
        match self.stage {
            Stage::New => self.make(Side::Client, "syn", SYN, Effect::None),
            Stage::SynSent => self.make(Side::Server, "syn+ack", SYN | ACK, Effect::None),
            Stage::SynReceived => ack(Side::Client),
            Stage::Established | Stage::Closed => {
                let from =
                    if self.unacknowledged[0] > self.unacknowledged[1] { Side::Server } else { Side::Client };
                let mut step = ack(from);
                step.segment.payload = b"ordinary".to_vec();
                step
            }
        }
    }

    /// What the ends know after a segment that has arrived.
    pub(crate) fn arrived(&mut self, step: &Move) {
        let side = step.from as usize;
        if step.segment.flags & ACK != 0 && step.effect != Effect::None {
            self.unacknowledged[step.from.other() as usize] = 0;
        }
        match step.effect {
            Effect::None => return,
            Effect::Becomes(stage) => self.become_stage(stage),
            Effect::Data(length) => {
                self.next[side] = self.next[side].wrapping_add(u32::try_from(length).unwrap());
                self.unacknowledged[side] += length;
            }
            Effect::Fin => {
                self.next[side] = self.next[side].wrapping_add(1);
                self.fin[side] = true;
            }
            Effect::Again(isn) => {
                (self.next[0], self.stage) = (isn.wrapping_add(1), Stage::SynSent);
                (self.fin, self.unacknowledged) = ([false; 2], [0; 2]);
                self.next[1] = self.next[1].wrapping_add(1_000_000);
            }
        }
        self.last[side] = Some(step.clone());
    }

    fn become_stage(&mut self, stage: Stage) {
        match stage {
            Stage::SynSent => self.next[0] = self.next[0].wrapping_add(1),
            Stage::SynReceived => self.next[1] = self.next[1].wrapping_add(1),
            Stage::New | Stage::Established | Stage::Closed => {}
        }
        self.stage = stage;
    }

    fn make(&self, from: Side, label: &'static str, flags: u8, effect: Effect) -> Move {
        let ack = if flags & ACK == 0 { 0 } else { self.next[from.other() as usize] };
        let segment = Segment { flags, seq: self.next[from as usize], ack, ..Segment::default() };
        Move { from, label, segment, effect }
    }

    fn first(&self, random: &mut Random) -> Move {
        use Effect::{Becomes, None};
        let client = |label, flags, effect| self.make(Side::Client, label, flags, effect);
        let mut step = random.weighted(&[(90, 0), (2, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7)]);
        if step == 0 && random.percent(3) {
            step = 8;
        }
        match step {
            0 => {
                let mut syn = client("syn", SYN, Becomes(Stage::SynSent));
                // MSS 1300, twice no-operation, selective acknowledgements permitted.
                syn.segment.options = vec![2, 4, 0x05, 0x14, 1, 1, 4, 2];
                syn
            }
            1 => client("ack of no connection", ACK, None),
            2 => client("syn+ack of no connection", SYN | ACK, None),
            3 => client("rst of no connection", RST, None),
            4 => client("fin of no connection", FIN | ACK, None),
            5 => client("no flags, of no connection", 0, None),
            6 => client("syn+fin", SYN | FIN, None),
            7 => client("syn+rst", SYN | RST, None),
            _ => {
                let mut syn = client("syn with data", SYN, None);
                syn.segment.payload = b"fast open".to_vec();
                syn
            }
        }
    }

    fn syn_sent(&self, random: &mut Random) -> Move {
        use Effect::{Becomes, None};
        match random.weighted(&[(82, 0), (5, 1), (4, 2), (3, 3), (3, 4), (3, 5)]) {
            0 => {
                let mut step = self.make(Side::Server, "syn+ack", SYN | ACK, Becomes(Stage::SynReceived));
                step.segment.options = vec![2, 4, 0x05, 0x14];
                step
            }
            1 => self.again(Side::Client, "syn again", SYN),
            2 => self.make(Side::Server, "rst to a syn", RST | ACK, Becomes(Stage::Closed)),
            3 => {
                let mut step = self.make(Side::Server, "rst with a wrong ack to a syn", RST | ACK, None);
                step.segment.ack = step.segment.ack.wrapping_add(70_000);
                step
            }
            4 => self.make(Side::Server, "syn to a syn", SYN, None),
            _ => self.make(Side::Server, "ack to a syn", ACK, None),
        }
    }

    fn syn_received(&self, random: &mut Random) -> Move {
        use Effect::{Becomes, None};
        match random.weighted(&[(86, 0), (4, 1), (4, 2), (3, 3), (3, 4)]) {
            0 => self.make(Side::Client, "third of the handshake", ACK, Becomes(Stage::Established)),
            1 => self.again(Side::Server, "syn+ack again", SYN | ACK),
            2 => self.again(Side::Client, "syn again", SYN),
            3 => self.make(Side::Client, "rst in the handshake", RST, Becomes(Stage::Closed)),
            _ => self.make(Side::Server, "rst after syn+ack", RST | ACK, None),
        }
    }

    /// A handshake's segment with its own sequence number.
    fn again(&self, from: Side, label: &'static str, flags: u8) -> Move {
        let mut step = self.make(from, label, flags, Effect::None);
        step.segment.seq = step.segment.seq.wrapping_sub(1);
        step
    }

    fn established(&self, random: &mut Random) -> Move {
        let mut from = if random.percent(50) { Side::Client } else { Side::Server };
        if self.fin[from as usize] || self.unacknowledged[from as usize] > IN_FLIGHT {
            from = from.other();
        }
        if self.unacknowledged[from.other() as usize] > IN_FLIGHT {
            return self.make(from, "ack", ACK, Effect::Data(0));
        }
        match random.weighted(&[(50, 0), (15, 1), (8, 2), (8, 3), (19, 4)]) {
            0 => {
                let length = 1 + random.below(900);
                let mut step = self.make(from, "data", ACK | PSH, Effect::Data(length));
                step.segment.payload = random.bytes(length);
                step
            }
            1 => self.make(from, "ack", ACK, Effect::Data(0)),
            2 => match &self.last[from as usize] {
                Some(last) if last.segment.flags & SYN == 0 => {
                    Move { label: "retransmission", effect: Effect::None, ..last.clone() }
                }
                _ => self.make(from, "ack", ACK, Effect::Data(0)),
            },
            3 => self.make(from, "fin", FIN | ACK, Effect::Fin),
            _ => self.odd(from, random),
        }
    }

    /// What no well-behaved end sends.
    fn odd(&self, from: Side, random: &mut Random) -> Move {
        use Effect::{Becomes, None};
        let at = |mut step: Move, seq: u32, ack: u32| {
            step.segment.seq = step.segment.seq.wrapping_add(seq);
            step.segment.ack = step.segment.ack.wrapping_add(ack);
            step
        };
        let make = |label, flags| self.make(from, label, flags, None);
        let far = 1_000_000;
        let data = |label: &'static str| {
            let mut step = make(label, ACK | PSH);
            step.segment.payload = b"somewhere else".to_vec();
            step
        };
        match random.below(16) {
            0 => self.make(from, "rst where it belongs", RST | ACK, Becomes(Stage::Closed)),
            1 => at(make("rst inside the window", RST), 100, 0),
            2 => at(make("rst far ahead", RST), far, 0),
            3 => at(make("rst far behind", RST), far.wrapping_neg(), 0),
            4 => at(make("syn in a connection", SYN), 0, 0),
            5 => at(make("syn far ahead in a connection", SYN), far, 0),
            6 => at(make("syn+ack in a connection", SYN | ACK), 0, 0),
            7 => at(data("data far ahead"), far, 0),
            8 => at(data("data far behind"), far.wrapping_neg(), 0),
            9 => at(data("ack of what was never sent"), 0, far),
            10 => make("no flags", 0),
            11 => make("all flags", 0x3f),
            12 => at(make("keepalive", ACK), 1_u32.wrapping_neg(), 0),
            13 => data("urgent data without a place").with_flags(ACK | URG),
            14 => at(make("fin far ahead", FIN | ACK), far, 0),
            _ => make("rst without ack where it belongs", RST).becomes(Stage::Closed),
        }
    }

    fn after(&self, random: &mut Random) -> Move {
        let from = if random.percent(50) { Side::Client } else { Side::Server };
        match random.below(5) {
            0 => {
                let isn = self.next[0].wrapping_add(100_000);
                let mut step =
                    self.make(Side::Client, "syn of the same tuple again", SYN, Effect::Again(isn));
                step.segment.seq = isn;
                step
            }
            1 => self.make(from, "late rst", RST, Effect::None),
            2 => {
                let mut step = self.make(from, "late data", ACK | PSH, Effect::None);
                step.segment.payload = b"late".to_vec();
                step
            }
            3 => {
                let mut step = self.make(from, "fin again", FIN | ACK, Effect::None);
                step.segment.seq = step.segment.seq.wrapping_sub(1);
                step
            }
            _ => self.make(from, "last ack", ACK, Effect::None),
        }
    }
}

impl Move {
    fn with_flags(mut self, flags: u8) -> Self {
        self.segment.flags = flags;
        self
    }

    fn becomes(mut self, stage: Stage) -> Self {
        self.effect = Effect::Becomes(stage);
        self
    }
}
