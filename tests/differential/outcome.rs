//! What became of a step in each bed, and in what the two differ.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;

use tests::packet::{ICMP, Offloaded, TCP, UDP, judge, layers};

use crate::beds::{Beds, End, Who};
use crate::canonical::{Naming, canonical, is_answer, source};
use crate::flow::Way;
use crate::frame::{self, IP, header_length};
use crate::traffic::{Step, Traffic};
use crate::whole::whole;

const IGMP: u8 = 2;
const DHCP_CLIENT: u16 = 68;

/// One frame that came out.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) end: End,
    pub(crate) raw: Vec<u8>,
    pub(crate) answered: bool,
    canonical: Vec<u8>,
}

/// All that came out for one step of one bed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome(pub(crate) Vec<Output>);

impl Outcome {
    /// Sends a step's frames and takes what they lead to. A veth hands a frame over within the system call that sends it, so
    /// nearly always everything has come out when that returns; [`Outcome::take_late`] is for the rest.
    pub(crate) fn of(beds: &Beds, who: Who, step: &Step, traffic: &Traffic) -> Self {
        let mut outcome = Self::default();
        for input in &step.inputs {
            beds.send(who, input.end, &input.frames[who as usize]);
            outcome.take(beds, who, step, &input.frames[who as usize], traffic);
        }
        outcome
    }

    /// Takes what came out late, of the last frame.
    pub(crate) fn take_late(&mut self, beds: &Beds, who: Who, step: &Step, traffic: &Traffic) {
        let frame = &step.inputs[step.inputs.len() - 1].frames[who as usize];
        self.take(beds, who, step, frame, traffic);
    }

    fn take(&mut self, beds: &Beds, who: Who, step: &Step, input: &[u8], traffic: &Traffic) {
        for (end, raw) in arrivals(beds, who) {
            let answered = is_answer(input, &raw);
            let naming = naming(step, who, (input, &raw), answered, traffic, beds.plan.host);
            let canonical = canonical(&raw, beds.plan.host, naming, answered);
            self.0.push(Output { end, raw, answered, canonical });
        }
    }

    /// The first frame that was passed on.
    pub(crate) fn forwarded(&self) -> Option<(End, Vec<u8>)> {
        self.0.iter().find(|output| !output.answered).map(|output| (output.end, output.raw.clone()))
    }

    /// The receiver and the datagram, when all that came out are its fragments.
    fn datagram(&self) -> Option<(End, Vec<u8>)> {
        let end = self.0.first().filter(|first| !first.answered)?.end;
        let whole = whole(self.0.iter().map(|output| output.canonical.as_slice()))?;
        self.0.iter().all(|output| output.end == end).then_some((end, whole))
    }

    /// In words, without numbers that differ from packet to packet.
    pub(crate) fn words(&self) -> String {
        match self.0.as_slice() {
            [] => "nothing".to_owned(),
            [output] => output.words(),
            outputs => {
                let mut words: Vec<_> = sorted(self).into_iter().map(Output::words).collect();
                words.dedup();
                format!("{} frames, {}", outputs.len(), words.join(" + "))
            }
        }
    }
}

impl Output {
    fn words(&self) -> String {
        let l4 = header_length(&self.raw, IP).map(|length| IP + length);
        let what = match (self.answered, self.raw.get(IP + 9), l4) {
            (true, Some(&ICMP), Some(l4)) if self.raw.len() >= l4 + 2 => {
                format!("icmp {}/{}", self.raw[l4], self.raw[l4 + 1])
            }
            (true, Some(&TCP), _) => "rst".to_owned(),
            (true, ..) => "answer".to_owned(),
            (false, ..) => "passed on".to_owned(),
        };
        format!("{what} {}", if self.end.is_container() { "inside" } else { "outside" })
    }
}

/// The frames that stand at the ends of a bed, without what a kernel says of its own accord: the traffic is IPv4, so all IPv6, and
/// the reports of the groups that the host has joined (IGMP).
pub(crate) fn arrivals(beds: &Beds, who: Who) -> Vec<(End, Vec<u8>)> {
    let mut buffer = [0; 4096];
    let mut all = Vec::new();
    for end in End::ALL {
        while let Some(length) = beds.take(who, end, &mut buffer) {
            let frame = &buffer[..length];
            let reports = source(frame) == Some(beds.plan.gateway) && frame[IP + 9] == IGMP;
            if !reports && frame::get16(frame, 12) != Some(0x86dd) {
                all.push((end, frame.to_vec()));
            }
        }
    }
    all
}

/// Which port of the output has another name.
fn naming(
    step: &Step,
    who: Who,
    (input, output): (&[u8], &[u8]),
    answered: bool,
    traffic: &Traffic,
    host: Ipv4Addr,
) -> Option<Naming> {
    let flow = step.flow.map(|at| &traffic.flows[at]);
    let known = flow.and_then(|flow| flow.naming(who));
    let from_container = step.inputs[0].end.is_container();
    let is_own = flow.is_some_and(|flow| frame::tuple(input) == Some(flow.tuple));
    if answered || !from_container || (is_own && known.is_some()) || source(output) != Some(host) {
        return known;
    }
    match (frame::tuple(input), frame::tuple(output)) {
        (Some(sent), Some(came)) if sent.proto == came.proto && came.src.1 != 0 => {
            Some(Naming { chosen: came.src.1, name: sent.src.1 })
        }
        _ => known,
    }
}

/// Which checksum of a frame is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrongSum {
    Ip,
    Transport,
}

fn wrong_sum(frame: &[u8]) -> Option<WrongSum> {
    if frame.len() < IP + 20 {
        return None;
    }
    let said = judge(frame, Offloaded::No).err()?;
    Some(if said.starts_with("IP ") { WrongSum::Ip } else { WrongSum::Transport })
}

/// A step with two different outcomes, and the class that it is of.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) label: String,
    /// Where it went in.
    pub(crate) end: End,
    /// Which way the flow takes that the step is of.
    pub(crate) way: Option<Way>,
    /// Whether the flow's first packet was answered by a RST.
    pub(crate) refused: bool,
    /// Whether a segment went before that one of the translators may not have believed: a RST, or numbers out of place.
    pub(crate) doubtful: bool,
    /// Whether it is an error about a segment that was acknowledged before.
    pub(crate) acknowledged: bool,
    /// Whether no packet of the flow was let through by both beds before.
    pub(crate) is_first: bool,
    /// Whether the beds have chosen different ports for the flow.
    pub(crate) has_two_ports: bool,
    /// Whether netdp has counted fragments of it as more than it keeps of a container. To be asked for:
    /// [`Difference::may_be_beyond_limit`].
    pub(crate) is_beyond_limit: bool,
    /// Whether both beds have passed on the same datagram, in different fragments.
    pub(crate) is_same_whole: bool,
    /// Whether it is for the port of a client of DHCP.
    pub(crate) is_dhcp: bool,
    /// Whether what went in is more than the uplink takes at once, or the path, as an ICMP error may have told the host.
    pub(crate) too_big: bool,
    /// What is wrong with the checksums that went in.
    pub(crate) wrong_sum: Option<WrongSum>,
    pub(crate) nftables: String,
    pub(crate) netdp: String,
    /// The fields that differ when both outcomes have the same shape.
    pub(crate) fields: BTreeSet<String>,
}

impl Difference {
    /// What both beds came to, when it is not the same.
    pub(crate) fn between(step: &Step, traffic: &Traffic, [nftables, netdp]: [&Outcome; 2]) -> Option<Self> {
        let fields = fields(nftables, netdp);
        let (left, right) = (nftables.words(), netdp.words());
        if left == right && fields.is_empty() {
            return None;
        }
        let flow = step.flow.map(|at| &traffic.flows[at]);
        let way = flow.map(|flow| flow.way);
        let refused = flow.is_some_and(|flow| flow.refused);
        let doubtful = flow.is_some_and(|flow| flow.doubtful);
        let sent = &step.inputs[0].frames[Who::Netdp as usize];
        let acknowledged = step.label.starts_with("icmp error ")
            && flow.is_some_and(|flow| flow.is_acknowledged(step.from, sent));
        let is_first = flow.is_some_and(|flow| !flow.is_open());
        let seen = flow.map(|flow| flow.seen.map(|tuple| tuple.map(|tuple| tuple.src.1)));
        let has_two_ports = seen.is_some_and(|[nftables, netdp]| nftables != netdp);
        let is_dhcp =
            frame::tuple(sent).is_some_and(|tuple| (tuple.proto, tuple.dst.1) == (UDP, DHCP_CLIENT));
        let is_same_whole = nftables.datagram().is_some_and(|datagram| Some(datagram) == netdp.datagram());
        let too_big = step.inputs.iter().any(|input| input.frames[0].len() > IP + SMALLEST_PATH);
        let wrong_sum = step.inputs.iter().find_map(|input| wrong_sum(&input.frames[0]));
        let end = step.inputs[0].end;
        Some(Self {
            label: step.label.clone(),
            end,
            way,
            refused,
            doubtful,
            acknowledged,
            is_first,
            has_two_ports,
            is_beyond_limit: false,
            is_same_whole,
            is_dhcp,
            too_big,
            wrong_sum,
            nftables: left,
            netdp: right,
            fields,
        })
    }

    /// Whether it is one that the limit of what is kept of a container's fragments may have made.
    pub(crate) fn may_be_beyond_limit(&self) -> bool {
        self.netdp == "nothing" && self.end.is_container() && self.label.starts_with("fragments ")
    }

    pub(crate) fn class(&self) -> String {
        let Self { label, end, way, wrong_sum, nftables, netdp, fields, .. } = self;
        let way = way.map_or_else(String::new, |way| format!("{way:?}, "));
        let sum = wrong_sum.map_or_else(String::new, |sum| format!(" ({sum:?} checksum wrong)"));
        let from = if end.is_container() { "from inside" } else { "from outside" };
        let label = format!("{way}{label}{sum} {from}");
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        match fields.as_slice() {
            [] => format!("{label} | nftables: {nftables} | netdp: {netdp}"),
            fields => format!("{label} | both: {nftables} | differ in {}", fields.join(", ")),
        }
    }
}

/// The MTU that the test's ICMP errors tell of, beside those that are too small for what it sends.
const SMALLEST_PATH: usize = 1300;

/// Whether a line of a flow's history tells of a RST, or of a segment that is not what its receiver expects.
pub(crate) fn is_doubtful(line: &str) -> bool {
    line.contains("rst") || UNEXPECTED.iter().any(|label| line.contains(label))
}

/// Labels of segments whose numbers or flags are not those that the receiver expects.
pub(crate) const UNEXPECTED: [&str; 17] = [
    "tcp rst inside the window",
    "tcp rst far",
    "tcp rst with a wrong ack",
    "tcp rst after syn+ack",
    "tcp late rst",
    "tcp data far",
    "tcp fin far",
    "tcp fin again",
    "tcp ack of what was never sent",
    "tcp syn in a connection",
    "tcp syn far ahead",
    "tcp syn+ack in a connection",
    "tcp syn to a syn",
    "tcp ack to a syn",
    "tcp syn of the same tuple again",
    "of no connection",
    "tcp syn with data",
];

/// Sorted by end, because ends are looked at one after the other.
fn sorted(outcome: &Outcome) -> Vec<&Output> {
    let mut all: Vec<_> = outcome.0.iter().collect();
    all.sort_by_key(|output| output.end);
    all
}

fn fields(left: &Outcome, right: &Outcome) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if left.words() != right.words() {
        return names;
    }
    for (a, b) in sorted(left).into_iter().zip(sorted(right)) {
        if a.end != b.end {
            names.insert("receiver".to_owned());
        }
        if a.canonical != b.canonical {
            names.extend(between(&a.canonical, &b.canonical));
        }
    }
    names
}

/// The names of the fields in which two frames differ; those of a packet inside an error begin with `inner`.
fn between(a: &[u8], b: &[u8]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if a.len() != b.len() {
        names.insert("length".to_owned());
    }
    for (left, right) in layers(a).iter().zip(&layers(b)) {
        if left.name != right.name {
            names.insert("layers".to_owned());
            continue;
        }
        let pairs = left.fields.iter().zip(&right.fields);
        let differing = pairs.filter(|(l, r)| l.1 != r.1).map(|(l, _)| format!("{}.{}", left.name, l.0));
        names.extend(differing);
    }
    if let (Some(a), Some(b)) = (inner(a), inner(b))
        && names.remove("payload.bytes")
    {
        names.extend(between(&a, &b).into_iter().map(|name| format!("inner {name}")));
    }
    names
}

/// The packet inside an ICMP error, as a frame.
fn inner(frame: &[u8]) -> Option<Vec<u8>> {
    let l4 = IP + header_length(frame, IP)?;
    if frame[IP + 9] != ICMP || !frame::is_error(*frame.get(l4)?) {
        return None;
    }
    Some([&[0; 12][..], &[8, 0], frame.get(l4 + 8..)?].concat())
}

/// Everything that one needs to look into a difference.
pub(crate) fn story(step: &Step, traffic: &Traffic, outcomes: [&Outcome; 2]) -> String {
    let mut text = String::new();
    if let Some(flow) = step.flow.map(|at| &traffic.flows[at]) {
        let proto = match flow.tuple.proto {
            TCP => "tcp",
            UDP => "udp",
            _ => "icmp",
        };
        let (way, tuple) = (flow.way, flow.tuple);
        let _ = writeln!(
            text,
            "  flow: {way:?} {proto} {:?} {:?} -> {:?} {:?}",
            flow.client, tuple.src, flow.server, tuple.dst
        );
        let _ =
            writeln!(text, "  seen: {:?}", flow.seen.map(|seen| seen.map(|tuple| (tuple.src, tuple.dst))));
        flow.history.iter().for_each(|line| {
            let _ = writeln!(text, "  before: {line}");
        });
    }
    for input in &step.inputs {
        for (who, frame) in Who::BOTH.into_iter().zip(&input.frames) {
            let _ = writeln!(text, "  in at {:?}, {who:?}: {}", input.end, frame::hex(frame));
        }
    }
    for (who, outcome) in Who::BOTH.into_iter().zip(outcomes) {
        let _ = writeln!(text, "  {who:?}: {}", outcome.words());
        for output in &outcome.0 {
            let _ = writeln!(text, "    out at {:?}: {}", output.end, frame::hex(&output.raw));
        }
    }
    text
}
