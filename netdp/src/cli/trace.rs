//! `netdp trace`.

use std::str::FromStr;

use clap::Args;
use netdp_common::proto;

use super::FormatArg;
use crate::model::Protocol;

/// `netdp trace`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp trace outside 203.0.113.10 tcp:8080     who gets what comes from outside to port 8080\n  \
    netdp trace web db tcp:5432                   may web reach db's own address\n  \
    netdp trace host 127.0.0.1 udp:53\n  \
    netdp trace web outside                       a ping: does web have a way out\n  \
    netdp trace outside web tcp:80 -i eth1        may who comes in by eth1 reach web's own address\n  \
    netdp trace -o json 198.51.100.7 web icmp\n\n\
    It is decided by the function that the programs in the kernel decide by, from the maps that they decide from. It is about\n\
    the first packet of a flow: what belongs to a flow that is known passes (netdp flows). What the rules let pass may lack a way\n\
    out, or room for its flow: that is looked up too. The exit code is 0 also when the\n\
    packet would be dropped.")]
pub struct Trace {
    /// Who sends: an endpoint's name, `host`, `outside`, or an address.
    pub from: String,
    /// To whom: an endpoint's name, `host`, `outside`, or an address.
    pub to: String,
    /// What: icmp, or tcp, udp, sctp with a port.
    #[arg(default_value = "icmp", value_name = "PROTO[:PORT]")]
    pub packet: Traced,
    /// The uplink that it comes in by from outside; the first one when it is not said.
    #[arg(short, long, value_name = "IF")]
    pub interface: Option<String>,
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// What kind of packet is followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Traced {
    /// A protocol with ports, and the port; none is ICMP.
    pub port: Option<(Protocol, u16)>,
}

impl Traced {
    /// Number of the protocol in a family, and the port or zero.
    pub fn numbers(self, v4: bool) -> (u8, u16) {
        match self.port {
            Some((protocol, port)) => (protocol.number(), port),
            None if v4 => (proto::ICMP, 0),
            None => (proto::ICMPV6, 0),
        }
    }
}

impl FromStr for Traced {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("icmp") {
            return Ok(Self { port: None });
        }
        let wanted =
            || format!("invalid packet {text:?}: icmp, tcp:PORT, udp:PORT or sctp:PORT, as in tcp:8080");
        let (protocol, port) = text.split_once(':').ok_or_else(wanted)?;
        let port = port.parse().ok().filter(|port: &u16| *port != 0).ok_or_else(wanted)?;
        Ok(Self { port: Some((protocol.parse().map_err(|_| wanted())?, port)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_a_protocol_and_where_it_has_ports_one_of_them() {
        let read = |text: &str| text.parse::<Traced>().ok().map(|it| it.numbers(true));
        assert_eq!(read("icmp"), Some((1, 0)));
        assert_eq!(read("TCP:80"), Some((6, 80)));
        assert_eq!(read("udp:53"), Some((17, 53)));
        assert_eq!("icmp".parse::<Traced>().unwrap().numbers(false), (58, 0));
        for wrong in ["", "tcp", "tcp:", "tcp:0", "tcp:65536", "gre:1", "icmp:8", "80"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
