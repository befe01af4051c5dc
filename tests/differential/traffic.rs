//! What is sent: flows in all stages at once, errors about them, junk made of them, and strays.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tests::packet::{ACK, FIN, ICMP, RST, SYN, TCP, UDP};

use crate::beds::{End, Mac, NEIGHBOUR, PUBLISHED, Plan, ROUTER, Who};
use crate::flow::{Flow, Way};
use crate::frame::{self, DONT_FRAGMENT, Ipv4, MORE_FRAGMENTS, Segment, Tuple};
use crate::icmp_error;
use crate::mutation::Mutation;
use crate::random::Random;
use crate::stream::{Move, Side, Stream};

/// Flows that are led at once.
const AT_ONCE: usize = 48;
/// No flow is left alone for longer: its timers would have to run alike to a tick in both beds.
const PATIENCE: Duration = Duration::from_secs(5);
const REMOTES: [Ipv4Addr; 5] = [
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(198, 51, 100, 2),
    Ipv4Addr::new(192, 0, 2, 7),
    ROUTER.0,
    NEIGHBOUR.0,
];

/// Nobody talks to this one.
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);

/// One frame, as each bed gets it.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) end: End,
    pub(crate) frames: [Vec<u8>; 2],
}

/// One thing that happens: a frame, or the fragments of one packet.
#[derive(Debug)]
pub(crate) struct Step {
    /// What kind of thing; the same for everything that is of one class.
    pub(crate) label: String,
    pub(crate) inputs: Vec<Input>,
    /// The flow that it is of or about.
    pub(crate) flow: Option<usize>,
    pub(crate) from: Side,
    movement: Option<Move>,
}

impl Step {
    /// Whether fragments of it may wait for others for as long as the test runs.
    fn leaves_fragments(&self) -> bool {
        let is_whole = ["in order", "in reverse"].iter().any(|label| self.label.contains(label));
        self.label.starts_with("fragments ") && !is_whole || self.label.starts_with("junk: fragment")
    }
}

/// Each step and each flow has a source of chance of its own: what a port that a bed has chosen by chance changes in one flow
/// then changes nothing in the others, and the same seed stays the same traffic.
pub(crate) struct Traffic {
    seed: u64,
    steps: u64,
    /// How many flows each place has had.
    generations: [u64; AT_ONCE],
    random: Random,
    plan: Plan,
    pub(crate) flows: Vec<Flow>,
    used: HashSet<Tuple>,
    id: u16,
    /// Identifications of which fragments wait for others that never come; who came with one again would meet them.
    incomplete: HashSet<u16>,
}

/// Source and destination MAC of what an end sends between these addresses.
pub(crate) fn macs(plan: &Plan, end: End, src: Ipv4Addr, dst: Ipv4Addr) -> (Mac, Mac) {
    if !end.is_container() {
        let from = if src == NEIGHBOUR.0 { NEIGHBOUR.1 } else { ROUTER.1 };
        return (from, plan.uplink_mac);
    }
    let to = plan.containers.iter().find(|(address, _)| *address == dst);
    (plan.container(end).1, to.map_or(plan.bridge_mac, |(_, mac)| *mac))
}

impl Traffic {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let (flows, used, generations) = (Vec::new(), HashSet::new(), [0; AT_ONCE]);
        let (random, incomplete) = (Random::new(seed), HashSet::new());
        let mut traffic = Self { seed, steps: 0, generations, random, plan, flows, used, id: 0, incomplete };
        traffic.flows = (0..AT_ONCE).map(|at| traffic.new_flow(at)).collect();
        traffic
    }

    pub(crate) fn next(&mut self) -> Step {
        self.id = self.next_id();
        self.steps += 1;
        self.random = Random::of(self.seed, [u64::MAX, self.steps]);
        if self.random.percent(5) {
            return self.stray();
        }
        let at = self.flow();
        let choice = self.random.weighted(&[(72, 0), (11, 1), (13, 2), (4, 3)]);
        let special = match choice {
            1 => self.icmp_error(at),
            2 => Some(self.junk(at)),
            3 => self.fragments(at),
            _ => None,
        };
        let step = special.unwrap_or_else(|| self.regular(at));
        if step.leaves_fragments() {
            self.incomplete.insert(self.id);
        }
        step
    }

    fn next_id(&self) -> u16 {
        let following = (1..u16::MAX).map(|n| self.id.wrapping_add(n)).filter(|id| *id != 0);
        let free = |id: &u16| !self.incomplete.contains(id);
        following.clone().find(free).or_else(|| following.clone().next()).unwrap()
    }

    /// A flow that has something left to do; a new one in the place of one that has not.
    fn flow(&mut self) -> usize {
        let at = self.random.below(AT_ONCE);
        let flow = &mut self.flows[at];
        flow.steps_left = flow.steps_left.saturating_sub(1);
        let is_over = flow.steps_left == 0 || flow.touched.elapsed() > PATIENCE;
        if is_over {
            self.flows[at] = self.new_flow(at);
        }
        self.flows[at].touched = Instant::now();
        at
    }

    fn new_flow(&mut self, at: usize) -> Flow {
        self.generations[at] += 1;
        let own = Random::of(self.seed, [u64::try_from(at).unwrap(), self.generations[at]]);
        let of_step = std::mem::replace(&mut self.random, own);
        let (way, ends, tuple) = loop {
            let new = self.new_tuple();
            // Two flows of one container and one remote are not to be each other's replies, on either side of the host.
            let mirrored = self.mirrored(&new);
            if !mirrored.iter().any(|tuple| self.used.contains(tuple)) && self.used.insert(new.2) {
                self.used.extend(mirrored);
                break new;
            }
        };
        let mut flow = Flow::new(way, ends, tuple, 4 + self.random.below(40));
        flow.stream = (tuple.proto == TCP).then(|| Stream::new(&mut self.random));
        self.random = of_step;
        flow
    }

    /// What a flow's packets are on the other side of the host, when its port is kept, from the replies' sender.
    fn mirrored(&self, (way, (_, server), tuple): &(Way, (End, End), Tuple)) -> Vec<Tuple> {
        let Tuple { proto, src, dst } = *tuple;
        if proto == ICMP {
            return Vec::new();
        }
        let published = PUBLISHED.iter().find(|row| (row.0, row.1) == (proto, dst.1));
        let inside = published.map(|row| (self.plan.container(*server).0, row.3));
        match (way, inside) {
            (Way::Masqueraded, _) => vec![Tuple { proto, src: dst, dst: (self.plan.host, src.1) }],
            (Way::Hairpin, Some(inside)) => vec![Tuple { proto, src: inside, dst: (self.plan.host, src.1) }],
            (Way::Published, Some(inside)) => vec![Tuple { proto, src: inside, dst: src }],
            _ => Vec::new(),
        }
    }

    fn new_tuple(&mut self) -> (Way, (End, End), Tuple) {
        let random = &mut self.random;
        let way = random.weighted(&[
            (50, Way::Masqueraded),
            (32, Way::Published),
            (10, Way::Hairpin),
            (8, Way::Local),
        ]);
        let container = random.pick(&[End::C1, End::C2]);
        let own = self.plan.container(container).0;
        let proto = random.weighted(&[(60, TCP), (30, UDP), (10, ICMP)]);
        let port = match random.below(10) {
            0..=4 => random.u16().max(1024),
            5..=7 => 5000 + random.u16() % 16,
            // Few: netdp lets each have an outside port of its own, and there are 1023 below 1024.
            8 => 600 + random.u16() % 64,
            _ => random.pick(&[8080, 53, 9090, 9091, 123]),
        };
        let published = random.pick(&PUBLISHED);
        let remote = random.pick(&REMOTES);
        match way {
            Way::Masqueraded | Way::Local => {
                let other = if container == End::C1 { End::C2 } else { End::C1 };
                let (to, server) = match way {
                    Way::Local => (self.plan.container(other).0, other),
                    _ => (remote, End::Outside),
                };
                let dport = if proto == ICMP { 0 } else { random.pick(&[80, 443, 53, 8080, 40_000]) };
                let tuple = Tuple { proto, src: (own, port), dst: (to, dport) };
                (way, (container, server), tuple)
            }
            Way::Published => {
                let (proto, to, server, _) = published;
                let tuple = Tuple { proto, src: (remote, port), dst: (self.plan.host, to) };
                (way, (End::Outside, server), tuple)
            }
            Way::Hairpin => {
                let (proto, to, server, inside) = published;
                // Not from the very port that it asks for: an end does not talk to itself.
                let port = if port == inside { port + 1 } else { port };
                let tuple = Tuple { proto, src: (own, port), dst: (self.plan.host, to) };
                (way, (container, server), tuple)
            }
        }
    }

    /// The next packet of a flow as its ends would send it.
    fn regular(&mut self, at: usize) -> Step {
        let flow = &self.flows[at];
        if let Some(stream) = &flow.stream {
            let movement = stream.next(&mut self.random);
            return self.segment(at, movement);
        }
        let from = if flow.is_open() && self.random.percent(50) { Side::Server } else { Side::Client };
        let (label, input) =
            if flow.tuple.proto == ICMP { self.echo(at, from, 10) } else { self.datagram(at, from) };
        Step { label, inputs: vec![input], flow: Some(at), from, movement: None }
    }

    /// What well-behaved ends would send, to be made junk of.
    fn ordinary(&mut self, at: usize) -> Step {
        let flow = &self.flows[at];
        if let Some(movement) = flow.stream.as_ref().map(Stream::ordinary) {
            return self.segment(at, movement);
        }
        let from = if flow.is_open() && self.random.percent(50) { Side::Server } else { Side::Client };
        let (label, input) =
            if flow.tuple.proto == ICMP { self.echo(at, from, 0) } else { self.datagram(at, from) };
        Step { label, inputs: vec![input], flow: Some(at), from, movement: None }
    }

    fn segment(&mut self, at: usize, movement: Move) -> Step {
        let from = movement.from;
        let input = self.packet(at, from, |tuple| frame::tcp(tuple, &movement.segment));
        let label = format!("tcp {}", movement.label);
        Step { label, inputs: vec![input], flow: Some(at), from, movement: Some(movement) }
    }

    fn datagram(&mut self, at: usize, from: Side) -> (String, Input) {
        let length = self.random.weighted(&[(5, 0), (85, 300), (5, 1330), (5, 1440)]);
        let length = if length == 300 { self.random.below(300) } else { length };
        let checksum = !self.random.percent(5);
        // The outside's own link takes no more.
        let length = if self.flows[at].end(from) == End::Outside { length.min(1330) } else { length };
        let payload = self.random.bytes(length);
        let label = match (checksum, length) {
            (false, _) => "udp without checksum",
            (_, 0) => "udp without payload",
            (_, 1340..) => "udp larger than the uplink's MTU",
            _ => "udp",
        };
        (label.to_owned(), self.packet(at, from, |tuple| frame::udp(tuple, &payload, checksum)))
    }

    /// An echo, in so many of a hundred cases of the type that only the other end should send.
    fn echo(&mut self, at: usize, from: Side, odd: usize) -> (String, Input) {
        let (length, seq) = (self.random.below(200), self.random.u16());
        let payload = self.random.bytes(length);
        let odd = self.random.percent(odd);
        let request = (from == Side::Client) != odd;
        let label = if odd { "echo of the wrong type for its direction" } else { "echo" };
        let id = |tuple: Tuple| tuple.src.1.max(tuple.dst.1);
        (label.to_owned(), self.packet(at, from, |tuple| frame::echo(request, id(tuple), seq, &payload)))
    }

    /// The same packet for both beds, with the ports that each has chosen.
    fn packet(&mut self, at: usize, from: Side, transport: impl Fn(Tuple) -> Vec<u8>) -> Input {
        let (flow, id) = (&self.flows[at], self.id);
        let end = flow.end(from);
        let fragment = if self.random.percent(80) { DONT_FRAGMENT } else { 0 };
        let frames = Who::BOTH.map(|who| {
            let tuple = flow.tuple_from(from, who);
            let (src, dst) = (tuple.src.0, tuple.dst.0);
            Ipv4 { src, dst, proto: tuple.proto, ttl: 64, id, fragment, payload: transport(tuple) }
                .build(macs(&self.plan, end, src, dst))
        });
        Input { end, frames }
    }

    fn icmp_error(&mut self, at: usize) -> Option<Step> {
        let flow = &self.flows[at];
        let from = if self.random.percent(50) { Side::Client } else { Side::Server };
        let (label, input) = icmp_error::error(&self.plan, flow, from, &mut self.random, self.id)?;
        Some(Step { label, inputs: vec![input], flow: Some(at), from, movement: None })
    }

    fn junk(&mut self, at: usize) -> Step {
        let mut step = self.ordinary(at);
        let input = &mut step.inputs[0];
        let mutation = Mutation::any(&mut self.random, input.frames[0].len());
        input.frames.iter_mut().for_each(|frame| mutation.apply(frame));
        let is_first = if self.flows[at].is_open() { "" } else { ", first of its flow" };
        step.label = format!("junk: {}{is_first}", mutation.label());
        step.movement = None;
        step
    }

    /// A datagram in fragments: in order or not, twice, overlapping, with one missing, with a tiny first one.
    fn fragments(&mut self, at: usize) -> Option<Step> {
        let flow = &self.flows[at];
        if flow.tuple.proto != UDP {
            return None;
        }
        let from = if flow.is_open() && self.random.percent(50) { Side::Server } else { Side::Client };
        let length = 1500 + self.random.below(2000);
        let payload = self.random.bytes(length);
        let whole = self.packet(at, from, |tuple| frame::udp(tuple, &payload, true));
        let first = self.random.weighted(&[(90, 1208), (10, 8)]);
        let mut inputs = cut(&whole, first);
        let choice = self.random.below(6);
        let label = match choice {
            0 | 1 => "in order",
            2 => {
                inputs.reverse();
                "in reverse"
            }
            3 => {
                inputs.insert(1, inputs[1].clone());
                "with one twice"
            }
            4 => {
                let mut overlapping = inputs[1].clone();
                overlapping.frames.iter_mut().for_each(|frame| overlap(frame));
                inputs.insert(1, overlapping);
                "overlapping"
            }
            _ => {
                let missing = self.random.below(inputs.len());
                inputs.remove(missing);
                "with one missing"
            }
        };
        let tiny = if first == 8 { ", tiny first" } else { "" };
        let is_first = if self.flows[at].is_open() { "" } else { ", first of its flow" };
        let label = format!("fragments {label}{tiny}{is_first}");
        Some(Step { label, inputs, flow: Some(at), from, movement: None })
    }

    /// What belongs to no flow, or pretends to.
    fn stray(&mut self) -> Step {
        let choice = self.random.below(6);
        let (label, end, tuples, name) = match choice {
            0 => self.closed_port(),
            1 => self.stream_nobody_opened(),
            2 => self.direct(),
            3 => self.wrong_remote(),
            4 => self.for_host(),
            _ => return self.other_protocol(),
        };
        let (kind, segment) = self.stray_segment(tuples[0].proto);
        let id = self.id;
        let frames = tuples.map(|tuple| {
            let (src, dst) = (tuple.src.0, tuple.dst.0);
            let payload = match tuple.proto {
                TCP => frame::tcp(tuple, &segment),
                UDP => frame::udp(tuple, b"stray", true),
                _ => frame::echo(segment.flags & SYN != 0, tuple.src.1.max(tuple.dst.1), 1, b"stray"),
            };
            Ipv4 { src, dst, proto: tuple.proto, ttl: 64, id, fragment: DONT_FRAGMENT, payload }
                .build(macs(&self.plan, end, src, dst))
        });
        let label = format!("stray {label}: {kind}");
        Step { label, inputs: vec![Input { end, frames }], flow: name, from: Side::Server, movement: None }
    }

    fn stray_segment(&mut self, proto: u8) -> (&'static str, Segment) {
        let (label, flags) = self.random.pick(&[
            ("syn", SYN),
            ("ack", ACK),
            ("syn+ack", SYN | ACK),
            ("rst", RST),
            ("rst+ack", RST | ACK),
            ("fin+ack", FIN | ACK),
            ("no flags", 0),
        ]);
        let segment = Segment { flags, seq: self.random.u32(), ack: self.random.u32(), ..Segment::default() };
        let label = match (proto, flags & SYN != 0) {
            (TCP, _) => label,
            (UDP, _) => "udp",
            (_, true) => "echo request",
            (_, false) => "echo reply",
        };
        (label, segment)
    }

    fn any_proto(&mut self) -> u8 {
        self.random.pick(&[TCP, TCP, UDP, ICMP])
    }

    fn remote(&mut self) -> (Ipv4Addr, u16) {
        (self.random.pick(&REMOTES), 10_000 + self.random.u16() % 20_000)
    }

    fn closed_port(&mut self) -> Stray {
        let (proto, src) = (self.any_proto(), self.remote());
        let port = if proto == ICMP { 0 } else { 200 + self.random.u16() % 100 };
        // Of an echo there is but the identifier, which a bed may have chosen for one of its flows.
        let src = if proto == ICMP { (STRANGER, src.1) } else { src };
        let tuple = Tuple { proto, src, dst: (self.plan.host, port) };
        ("to a closed port", End::Outside, [tuple; 2], None)
    }

    fn stream_nobody_opened(&mut self) -> Stray {
        let src = self.remote();
        let (proto, port, ..) = self.random.pick(&PUBLISHED);
        let tuple = Tuple { proto, src, dst: (self.plan.host, port) };
        if !self.used.insert(tuple) {
            return self.closed_port();
        }
        ("to a published port", End::Outside, [tuple; 2], None)
    }

    fn direct(&mut self) -> Stray {
        let (proto, src) = (self.any_proto(), self.remote());
        let container = self.random.pick(&[End::C1, End::C2]);
        let tuple = Tuple { proto, src, dst: (self.plan.container(container).0, 80) };
        ("to a container's own address", End::Outside, [tuple; 2], None)
    }

    fn wrong_remote(&mut self) -> Stray {
        // Of no flow: an echo's identifier alone would lead to another one.
        let other = (STRANGER, self.remote().1);
        let open = self.flows.iter().position(|flow| flow.is_open() && flow.way == Way::Masqueraded);
        let Some(at) = open else { return self.closed_port() };
        let tuples = Who::BOTH.map(|who| {
            let mut tuple = self.flows[at].tuple_from(Side::Server, who);
            (tuple.src.0, tuple.src.1) = if tuple.proto == ICMP { (other.0, 0) } else { other };
            tuple
        });
        ("from another remote to a mapped port", End::Outside, tuples, Some(at))
    }

    fn for_host(&mut self) -> Stray {
        let proto = self.any_proto();
        let end = self.random.pick(&[End::C1, End::C2]);
        let dst = self.random.pick(&[self.plan.host, self.plan.gateway]);
        let src = (self.plan.container(end).0, 10_000 + self.random.u16() % 20_000);
        let tuple = Tuple { proto, src, dst: (dst, if proto == ICMP { 0 } else { 77 }) };
        ("from a container to the host", end, [tuple; 2], None)
    }

    fn other_protocol(&mut self) -> Step {
        let end = self.random.pick(&End::ALL);
        let remote = self.remote().0;
        let (src, dst) = match end {
            End::Outside => (remote, self.plan.host),
            container => (self.plan.container(container).0, remote),
        };
        let (proto, kind) = self.random.pick(&[
            (47, "GRE"),
            (50, "ESP"),
            (4, "IPIP"),
            (132, "SCTP"),
            (253, "an unknown protocol"),
            (1, "ICMP timestamp"),
            (1, "ICMP router solicitation"),
        ]);
        let payload = match kind {
            // To the host itself another: the answer would tell the time, which passes between the beds.
            "ICMP timestamp" if !end.is_container() => frame::icmp((15, 0), [0, 1, 0, 1], &[]),
            "ICMP timestamp" => {
                // Of this container alone, so that no bed has to choose one.
                let id = 200 + (self.random.u16() % 100) * 2 + u16::from(end == End::C2);
                let [high, low] = id.to_be_bytes();
                frame::icmp((13, 0), [high, low, 0, 1], &[0; 12])
            }
            "ICMP router solicitation" => frame::icmp((10, 0), [0; 4], &[]),
            // No flags, and Ethernet inside.
            "GRE" => [&[0, 0, 0x65, 0x58][..], &self.random.bytes(40)].concat(),
            _ => self.random.bytes(40),
        };
        let from = if end.is_container() { "a container" } else { "outside" };
        let ip = Ipv4 { src, dst, proto, ttl: 64, id: self.id, fragment: 0, payload };
        let frame = ip.build(macs(&self.plan, end, src, dst));
        let input = Input { end, frames: [frame.clone(), frame] };
        let label = format!("stray from {from}: {kind}");
        Step { label, inputs: vec![input], flow: None, from: Side::Client, movement: None }
    }

    /// Takes in what became of a step, when both beds did the same.
    pub(crate) fn learn(&mut self, step: &Step, forwarded: [Option<&(End, Vec<u8>)>; 2]) {
        let Some(at) = step.flow else { return };
        let flow = &mut self.flows[at];
        let arrived = forwarded.iter().all(Option::is_some);
        let sent = &step.inputs[0].frames[Who::Netdp as usize];
        if frame::tuple(sent) == Some(flow.tuple_from(step.from, Who::Netdp)) {
            flow.acknowledge(step.from, sent);
        }
        for (who, output) in Who::BOTH.into_iter().zip(forwarded) {
            let Some((_, frame)) = output else { continue };
            let Some(tuple) = frame::tuple(frame) else { continue };
            let is_own =
                frame::tuple(&step.inputs[0].frames[who as usize]) == Some(flow.tuple_from(step.from, who));
            if is_own && step.from == Side::Client && flow.seen[who as usize].is_none() {
                flow.seen[who as usize] = Some(tuple);
            }
            if is_own {
                flow.deliver(who, step.from.other(), frame);
            }
        }
        if let (Some(stream), Some(movement), true) = (&mut flow.stream, &step.movement, arrived) {
            stream.arrived(movement);
            if stream.is_over() {
                flow.steps_left = flow.steps_left.min(6);
            }
        }
        if !flow.is_open() {
            flow.steps_left = flow.steps_left.min(2);
        }
    }

    /// What no translator may do with the port that it has chosen for this step's flow, if one of them did.
    pub(crate) fn broken_promise(&self, step: &Step) -> Option<String> {
        let at = step.flow?;
        let flow = &self.flows[at];
        Who::BOTH.into_iter().find_map(|who| {
            let seen = flow.seen[who as usize]?;
            let lives = |flow: &Flow| flow.stream.as_ref().is_none_or(|stream| !stream.is_over());
            let shares = |other: &Flow| {
                other.tuple != flow.tuple
                    && other.seen[who as usize] == Some(seen)
                    && lives(other)
                    && lives(flow)
            };
            if self.flows.iter().any(shares) {
                return Some(format!("{who:?}: two flows have one tuple"));
            }
            let has_class = seen.proto == ICMP || (seen.src.1 < 1024) == (flow.tuple.src.1 < 1024);
            (!has_class).then(|| format!("{who:?}: a port below 1024 for one above, or the reverse"))
        })
    }

    /// A flow that the beds disagree about is not led on: what follows would only follow from that.
    pub(crate) fn give_up(&mut self, step: &Step) {
        if let Some(at) = step.flow {
            self.flows[at].steps_left = 0;
        }
    }
}

/// Label, where it comes in, the tuple in each bed, and the flow whose names it uses.
type Stray = (&'static str, End, [Tuple; 2], Option<usize>);

/// The pieces of a packet in order; all but the first as large as a link of 1400 bytes takes.
fn cut(whole: &Input, first: usize) -> Vec<Input> {
    let header = 34;
    let length = whole.frames[0].len() - header;
    let mut inputs = Vec::new();
    let (mut at, mut piece) = (0, first);
    while at < length {
        let end = (at + piece).min(length);
        let frames =
            [0, 1].map(|who| fragment(&whole.frames[who], (header + at, header + end), end < length));
        inputs.push(Input { end: whole.end, frames });
        (at, piece) = (end, 1376);
    }
    inputs
}

fn fragment(whole: &[u8], (from, to): (usize, usize), more: bool) -> Vec<u8> {
    let mut frame = [&whole[..34], &whole[from..to]].concat();
    let offset = u16::try_from((from - 34) / 8).unwrap();
    frame::put16(&mut frame, 16, u16::try_from(20 + to - from).unwrap());
    frame::put16(&mut frame, 20, offset | if more { MORE_FRAGMENTS } else { 0 });
    frame::fix_ip(&mut frame);
    frame
}

/// Moves a fragment eight bytes into the one before.
fn overlap(frame: &mut [u8]) {
    let field = frame::get16(frame, 20).unwrap();
    frame::put16(frame, 20, field - 1);
    frame[34] ^= 0xff;
    frame::fix_ip(frame);
}
