//! The differences that are meant, each with its reason. Whatever is not here fails the test.

use crate::flow::Way;
use crate::outcome::{Difference, UNEXPECTED, WrongSum};

pub(crate) struct Allowed {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) covers: fn(&Difference) -> bool,
}

pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed {
        name: "junk within a network",
        reason: "a bridge passes on whatever it is given; netdp drops what is malformed, forged or of no protocol it knows",
        covers: |difference| difference.way == Some(Way::Local) && difference.label.starts_with("junk"),
    },
    Allowed {
        name: "transport checksum wrong",
        reason: "conntrack reads every byte to find out, and does not translate; netdp leaves that to the receiver, which drops it",
        covers: |difference| {
            let passed_on = passes(&difference.netdp) && is_stopped(difference);
            difference.wrong_sum == Some(WrongSum::Transport)
                && !difference.label.starts_with("icmp error")
                && passed_on
        },
    },
    Allowed {
        name: "quote of a malformed header",
        reason: "both hosts answer it and quote it, with the port that its flow has on that host where a header would end",
        covers: |difference| {
            let answered = "icmp 12/0 outside";
            is(difference, "junk: IP header length")
                && difference.nftables == answered
                && difference.netdp == answered
        },
    },
    Allowed {
        name: "an error of netdp's own",
        reason: "it is one piece and says so (RFC 6864), quotes what fits into 576 bytes on every path, and to a container it comes \
                 from its gateway, whatever address was asked",
        covers: |difference| {
            let header = ["ip.checksum", "ip.fragment"];
            let quoted =
                ["icmp.checksum", "inner length", "inner payload.bytes", "ip.total length", "length"];
            let is_short = quoted.iter().all(|field| difference.fields.contains(*field));
            let is_own = |field: &str| {
                header.contains(&field)
                    || is_short && quoted.contains(&field)
                    || field == "ip.src" && difference.way == Some(Way::Hairpin)
            };
            ["icmp 11/0 ", "icmp 3/4 "].iter().any(|kind| difference.netdp.starts_with(kind))
                && difference.netdp == difference.nftables
                && are_all(difference, is_own)
        },
    },
    Allowed {
        name: "a second one without ports to one remote is told",
        reason: "conntrack drops in silence what it could not tell apart; netdp answers that it is administratively prohibited",
        covers: |difference| {
            let words = ["GRE", "ESP", "IPIP", "an unknown protocol", "junk: protocol "];
            words.iter().any(|word| difference.label.contains(word))
                && difference.nftables == "nothing"
                && difference.netdp == "icmp 3/13 inside"
        },
    },
    Allowed {
        name: "a quoted header whose checksum is wrong",
        reason: "conntrack translates it; netdp believes no error about a header that never was (RFC 5508, REQ-3)",
        covers: |difference| {
            is(difference, "icmp error ")
                && difference.label.contains("InnerChecksum")
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "malformed and too big for the uplink",
        reason: "netdp looks at the header before it looks for the way, and answers no nonsense",
        covers: |difference| {
            let lies = ["junk: UDP length", "junk: total length"].iter().any(|label| is(difference, label));
            difference.too_big
                && (difference.wrong_sum == Some(WrongSum::Transport) || lies)
                && difference.nftables == "icmp 3/4 inside"
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "chosen port of a datagram in fragments",
        reason: "where a port is not kept each bed chooses one, and which one is learned from whole packets alone",
        covers: |difference| {
            let port = ["udp.checksum", "udp.sport"];
            is(difference, "fragments ")
                && difference.label.contains("first of its flow")
                && are_all(difference, |field| port.contains(&field))
        },
    },
    Allowed {
        name: "foreign destination MAC",
        reason: "a bridge floods what is for nobody it knows to all containers; netdp gives a packet to whom it is for",
        covers: |difference| {
            difference.end.is_container() && is(difference, "junk: destination MAC") && is_dropped(difference)
        },
    },
    Allowed {
        name: "loopback address from a container",
        reason: "the rules of nftables, like Docker's, translate every local destination; netdp keeps 127.0.0.0/8 to the host",
        covers: |difference| {
            is(difference, "junk: destination 127.0.0.1")
                && difference.end.is_container()
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "malformed IP header from a container",
        reason: "netdp drops and counts it; the stack of the other host answers ICMP parameter problem",
        covers: |difference| {
            // Outside, when what looks like a source route leads there.
            let answered = difference.nftables.starts_with("icmp 12/0 ");
            difference.end.is_container() && is(difference, "junk: ") && answered && is_dropped(difference)
        },
    },
    Allowed {
        name: "neither for the host nor for a container",
        reason: "what the host routes for others is not netdp's; the forwarding policy of the other bed drops it",
        covers: |difference| {
            is(difference, "junk: destination 240.0.0.1")
                && !difference.end.is_container()
                && difference.nftables == "nothing"
        },
    },
    Allowed {
        name: "after a refused connection",
        reason: "conntrack forgets it at once, netdp after the timer of closed ones: until then late segments reach the ends",
        covers: |difference| {
            let late = ["late", "last ack", "fin again"].iter().any(|word| difference.label.contains(word));
            difference.refused && late && passes(&difference.netdp)
        },
    },
    Allowed {
        name: "numbers out of place",
        reason: "conntrack calls such segments invalid; netdp passes them on and believes nothing, and the receiver, who knows, answers",
        covers: |difference| {
            let unexpected = UNEXPECTED.iter().any(|label| difference.label.starts_with(label));
            unexpected && is_stopped(difference) && passes(&difference.netdp)
        },
    },
    Allowed {
        name: "after numbers out of place",
        reason: "conntrack's state has followed a segment that netdp did not believe: what comes later is invalid there",
        covers: |difference| {
            ["tcp ", "icmp error ", "junk: "].iter().any(|label| is(difference, label))
                && difference.doubtful
                && is_stopped(difference)
                && (passes(&difference.netdp) || difference.netdp.starts_with("icmp 11/0 "))
        },
    },
    Allowed {
        name: "an error about what is acknowledged",
        reason: "a segment that has arrived is no router's to answer any more: its sender would not believe it (RFC 5927), and netdp drops it",
        covers: |difference| {
            is(difference, "icmp error ")
                && difference.acknowledged
                && !is_stopped(difference)
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "an error about numbers out of place",
        reason: "netdp has not believed the segment that it quotes, or one before it, and so not what it is about (RFC 5927)",
        covers: |difference| {
            is(difference, "icmp error ")
                && difference.doubtful
                && !is_stopped(difference)
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "padding in the place of the sequence number",
        reason: "an error that quotes four bytes and pads them has no number that netdp could believe; eight are the least (RFC 792)",
        covers: |difference| {
            is(difference, "icmp error ")
                && difference.label.ends_with("4 bytes quoted, Extension")
                && !is_stopped(difference)
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "GRE of two containers to one remote",
        reason: "conntrack lets the second one clash with the first, and the answers go to either; netdp refuses what it could not tell apart",
        covers: |difference| {
            let gre = ["GRE", "junk: protocol 47"].iter().any(|word| difference.label.contains(word));
            let receiver = ["eth.to", "ip.checksum", "ip.dst", "receiver"];
            gre && (!is_stopped(difference) && is_dropped(difference)
                || are_all(difference, |field| receiver.contains(&field)))
        },
    },
    Allowed {
        name: "a SYN that nobody asked for",
        reason: "the stack of the other host answers it at once; netdp is silent for six seconds where a container has the port (RFC 5382, REQ-4)",
        covers: |difference| {
            !difference.end.is_container()
                && is(difference, "stray ")
                && difference.label.ends_with(": syn")
                && difference.nftables == "rst outside"
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "another port for another connection",
        reason: "a connection whose end conntrack has seen begins again with another port; netdp keeps that of the flow",
        covers: |difference| {
            let port =
                difference.fields.iter().all(|field| ["tcp.checksum", "tcp.sport"].contains(&field.as_str()));
            (difference.doubtful || is(difference, "tcp syn of the same tuple again"))
                && port
                && !difference.fields.is_empty()
        },
    },
    Allowed {
        name: "flags that no TCP sends",
        reason: "netdp drops what only a scanner sends; the stack of the other host answers it with a RST",
        covers: |difference| {
            let flags = ["no flags", "all flags", "syn+fin", "syn+rst"];
            flags.iter().any(|flags| difference.label.contains(flags))
                && difference.nftables.starts_with("rst")
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "a reserved source from the wire",
        reason: "nobody has an address of 240.0.0.0/4; netdp begins nothing for one",
        covers: |difference| {
            is(difference, "junk: source 240.0.0.1")
                && !difference.end.is_container()
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "loopback address from the wire",
        reason: "the rules of nftables translate every local destination before the host looks at it; netdp leaves 127.0.0.0/8 to the host",
        covers: |difference| {
            is(difference, "junk: destination 127.0.0.1")
                && !difference.end.is_container()
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "source quench",
        reason: "deprecated, and not to be believed by anybody (RFC 6633); netdp does not translate it",
        covers: |difference| is(difference, "icmp error 4 ") && !passes(&difference.netdp),
    },
    Allowed {
        name: "redirect",
        reason: "a router's advice is for its own link; netdp translates none",
        covers: |difference| is(difference, "icmp error 5 ") && !passes(&difference.netdp),
    },
    Allowed {
        name: "IPv6 inside an error of IPv4",
        reason: "no packet was ever of both families; netdp translates no such error",
        covers: |difference| {
            is(difference, "icmp error ")
                && difference.label.ends_with("InnerVersion")
                && !passes(&difference.netdp)
        },
    },
    Allowed {
        name: "SCTP that is none",
        reason: "conntrack sums every byte of it; netdp leaves a wrong checksum to the receiver",
        covers: |difference| {
            let sctp = ["SCTP", "protocol 132"].iter().any(|word| difference.label.contains(word));
            sctp && is_stopped(difference)
        },
    },
    Allowed {
        name: "a published port as source",
        reason: "nftables masquerades from a port that is published, and what comes there is then for the published one; netdp never does",
        covers: |difference| {
            let strange = ["stray from another remote to a mapped port", "junk: source "];
            strange.iter().any(|label| is(difference, label))
                && difference.way == Some(Way::Masqueraded)
                && difference.nftables == "passed on inside"
                && !passes(&difference.netdp)
        },
    },
    Allowed {
        name: "chosen port towards somebody else",
        reason: "a reply with a changed destination still has the port that each bed has chosen for the flow",
        covers: |difference| {
            let ports = ["tcp.checksum", "tcp.dport", "udp.checksum", "udp.dport"];
            is(difference, "junk: destination ") && are_all(difference, |field| ports.contains(&field))
        },
    },
    Allowed {
        name: "chosen port in what has no ports",
        reason: "a changed protocol makes payload of the ports, which each bed has chosen",
        covers: |difference| {
            let changed = ["protocol ", "InnerProtocol"].iter().any(|word| difference.label.contains(word));
            let payload = ["payload.bytes", "inner payload.bytes", "icmp.checksum"];
            changed && are_all(difference, |field| payload.contains(&field))
        },
    },
    Allowed {
        name: "chosen port among the options",
        reason: "a changed header length makes IP options of the ports, which each bed has chosen, and the answer quotes them; the \
                 stack has wiped what stands behind the end of the options, netdp quotes what was sent",
        covers: |difference| {
            let sums = ["icmp.checksum", "ip.checksum", "ip.fragment"];
            is(difference, "junk: IP header length changed")
                && (difference.has_two_ports
                    || are_all(difference, |field| field.starts_with("inner ") || sums.contains(&field)))
        },
    },
    Allowed {
        name: "fragments beyond a container's limit",
        reason: "netdp keeps so much of one container and counts what is more; conntrack has one limit for all, and here a high one",
        covers: |difference| difference.is_beyond_limit,
    },
    Allowed {
        name: "fragments for the host beyond a container's limit",
        reason: "those that netdp does not keep are left to the stack of the host, which has nobody at the published port, or only \
                 some of them",
        covers: |difference| {
            is(difference, "fragments ")
                && difference.way == Some(Way::Hairpin)
                && (difference.netdp == "icmp 3/3 inside" || is_dropped(difference))
        },
    },
    Allowed {
        name: "an error about ports of another flow",
        reason: "whether there is still one with the changed ports is a matter of timers, of which conntrack's are shorter than \
                 RFC 4787 allows, and of numbers, which conntrack does not ask for",
        covers: |difference| {
            is(difference, "icmp error ")
                && difference.label.ends_with("InnerPorts")
                && is_stopped(difference) == passes(&difference.netdp)
        },
    },
    Allowed {
        name: "chosen port in the place of a checksum",
        reason: "where an error pads what it quotes, the translation of the checksum changes the padding, by the port of each bed",
        covers: |difference| {
            let sums = ["icmp.checksum", "inner tcp.checksum", "inner udp.checksum"];
            difference.label.ends_with("Extension")
                && difference.has_two_ports
                && are_all(difference, |field| sums.contains(&field))
        },
    },
    Allowed {
        name: "chosen identifier of a timestamp",
        reason: "another container may have it by junk of before, and then each bed chooses one",
        covers: |difference| {
            is(difference, "stray from a container: ICMP timestamp")
                && are_all(difference, |field| ["icmp.checksum", "icmp.id"].contains(&field))
        },
    },
    Allowed {
        name: "a datagram in fragments is cut otherwise",
        reason: "conntrack puts it together and cuts it anew for the path; netdp cuts each fragment, and the receiver gets the same",
        covers: |difference| difference.is_same_whole && !is_stopped(difference),
    },
    Allowed {
        name: "an error that is larger than the path",
        reason: "RFC 1812 allows 576 bytes, which any path takes; netdp leaves what is longer to the router that has to cut it",
        covers: |difference| {
            is(difference, "icmp error ")
                && difference.label.contains("all quoted")
                && difference.nftables.contains("frames, passed on outside")
                && difference.netdp == "passed on outside"
        },
    },
    Allowed {
        name: "an error about a connection that the server has begun anew",
        reason: "after a RST conntrack takes a SYN of the server for another connection, from the port behind the published one",
        covers: |difference| {
            // Of eight quoted bytes the ports are payload.
            let ports = ["icmp.checksum", "inner tcp.checksum", "inner tcp.dport", "inner payload.bytes"];
            is(difference, "icmp error ")
                && (difference.doubtful || difference.refused)
                && difference.way == Some(Way::Published)
                && are_all(difference, |field| ports.contains(&field))
        },
    },
    Allowed {
        name: "too big, and a packet within",
        reason: "the kernel takes the bytes within for headers, however far they reach, and lets no program cut a packet before \
                 their end: netdp counts such a packet and cannot answer it",
        covers: |difference| {
            let within = ["junk: protocol 4 ", "junk: protocol 41", "junk: protocol 47"];
            let label = format!("{} ", difference.label);
            difference.too_big
                && within.iter().any(|within| label.starts_with(within))
                && difference.nftables == "icmp 3/4 inside"
                && is_dropped(difference)
        },
    },
    Allowed {
        name: "a port that something else has",
        reason: "a stray of before may stand in the way of a client's own port in one bed, and be forgotten in the other",
        covers: |difference| {
            let port = ["tcp.checksum", "tcp.sport", "udp.checksum", "udp.sport"];
            let published = difference.way == Some(Way::Published)
                && (difference.is_first || is(difference, "junk: source "));
            (published || is(difference, "stray to a published port"))
                && are_all(difference, |field| port.contains(&field))
        },
    },
    Allowed {
        name: "a DHCP server among neighbours",
        reason: "netdp lets no container tell another one which address and router it has",
        covers: |difference| {
            difference.is_dhcp && difference.way == Some(Way::Local) && is_dropped(difference)
        },
    },
];

/// What netdp does not do yet, and is built elsewhere: not compared until then. Each row is to be deleted when it is built.
pub(crate) const NOT_COMPARED: &[Allowed] = &[
    Allowed {
        name: "protocols without ports that the host has itself",
        reason: "conntrack knows the host's own flows, and begins none for a container that would take them; netdp knows its own only",
        covers: |difference| {
            let words = ["GRE", "ESP", "IPIP", "an unknown protocol", "junk: protocol ", "InnerProtocol"];
            words.iter().any(|word| difference.label.contains(word))
                && is_stopped(difference)
                && passes(&difference.netdp)
        },
    },
    Allowed {
        name: "hairpin connection in mid-stream",
        reason: "not picked up yet: it may be an answer to a connection of the host, whose stack has it",
        covers: |difference| {
            difference.way == Some(Way::Hairpin)
                && difference.label.starts_with("tcp ack of no connection")
                && difference.netdp.starts_with("rst")
        },
    },
    Allowed {
        name: "record route and time stamp",
        reason: "the host's hop is not written into the options yet",
        covers: |difference| {
            let hops = ["junk: record route", "junk: timestamp"].iter().any(|label| is(difference, label));
            // An error quotes them, and the stack's has them once more.
            let recorded =
                ["ip.checksum", "ip.options", "ip.header words", "ip.fragment", "icmp.checksum", "length"];
            let port = ["tcp.checksum", "tcp.sport"];
            let is_recorded = |field: &str| recorded.contains(&field) || field.starts_with("inner ");
            hops && are_all(difference, |field| {
                is_recorded(field) || difference.doubtful && port.contains(&field)
            })
        },
    },
];

/// Whether the outcomes differ in fields only, and in no other ones.
fn are_all(difference: &Difference, is_one: impl Fn(&str) -> bool) -> bool {
    !difference.fields.is_empty() && difference.fields.iter().all(|field| is_one(field))
}

fn is_stopped(difference: &Difference) -> bool {
    !passes(&difference.nftables)
}

/// Whether an outcome is that the packet was passed on, whole or in fragments.
fn passes(words: &str) -> bool {
    words.contains("passed on")
}

fn is(difference: &Difference, label: &str) -> bool {
    difference.label.starts_with(label)
}

fn is_dropped(difference: &Difference) -> bool {
    difference.netdp == "nothing"
}

/// The one that covers a difference, of both lists.
pub(crate) fn allowed(difference: &Difference) -> Option<&'static Allowed> {
    ALLOWED.iter().chain(NOT_COMPARED).find(|allowed| (allowed.covers)(difference))
}
