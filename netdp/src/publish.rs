//! The `-p` grammar: Docker's short form, and the long form of `key=value` pairs.
//!
//! | text | meaning |
//! |---|---|
//! | `80`, `:80`, `0:80` | port 80 inside, a free port on the host |
//! | `8080:80/udp` | port 8080 of the host leads to UDP port 80 inside |
//! | `1.2.3.4:8080:80`, `1.2.3.4::80`, `[::1]:8080:80` | only on that address of the host |
//! | `9000-9002:80-82` | three ports, one to one |
//! | `8000-8010:80` | the first free port of the range |
//! | `published=8080,target=80,protocol=tcp,host-ip=1.2.3.4,from=10.0.0.0/8` | the long form; `from` may be repeated |

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::model::{Attachment, Protocol};
use crate::sources::{self, Sources};

/// What one `-p` asks for: one port inside, or several in a row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PortSpec {
    /// The text as it was given.
    pub text: String,
    /// The ports, in order; never empty.
    pub ports: Vec<PortRequest>,
}

/// One port inside and what it wants on the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PortRequest {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The host's address; none is the network's default.
    pub host_address: Option<IpAddr>,
    /// The host's port.
    pub host_port: HostPort,
    /// The port inside.
    pub container_port: u16,
    /// Who may use it.
    pub sources: Sources,
}

/// Which port of the host is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostPort {
    /// Any free one.
    Any,
    /// The first free one from the first to the last, both included.
    FirstFree(u16, u16),
}

impl HostPort {
    /// Exactly this one.
    pub fn exactly(port: u16) -> Self {
        Self::FirstFree(port, port)
    }
}

const PORT_FORM: &str = "a port is 1 to 65535, a range is two of them with `-` between, the smaller first";

/// Why a text is no `-p` spec.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The part behind the last colon is empty.
    #[error("no port specified: {0}<empty>")]
    NoPort(String),
    /// Neither a port nor a range of ports.
    #[error("invalid {side}: {text}: {PORT_FORM}")]
    Port {
        /// Whose it is: `containerPort` or `hostPort`.
        side: &'static str,
        /// As it was given.
        text: String,
    },
    /// The host's part is no IP address.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// The part behind the slash is no protocol.
    #[error("{0}")]
    Protocol(String),
    /// Two ranges of different length.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// The range inside.
        container: String,
        /// The range on the host.
        host: String,
    },
    /// The long form has a key that is not known.
    #[error("unknown key {0:?}: published, target, protocol, host-ip and from are known")]
    Key(String),
    /// The long form has a key twice, or one without value.
    #[error("{0:?} must be given once and with a value")]
    Value(String),
    /// The long form lacks its one necessary key.
    #[error("target=PORT is missing")]
    NoTarget,
    /// What stands behind `from=`.
    #[error(transparent)]
    Sources(#[from] sources::Error),
}

impl FromStr for PortSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = if text.contains('=') { Parts::long(text)? } else { Parts::short(text)? };
        Ok(Self { text: text.to_owned(), ports: parts.requests()? })
    }
}

/// All that is to be published: what was asked for, and with `-P` each exposed port that is not among it, as Docker has it.
pub fn with_exposed(publish: &[PortSpec], exposed: &[PortSpec], all: bool) -> Vec<PortSpec> {
    let mut specs = publish.to_vec();
    for spec in exposed.iter().filter(|_| all) {
        let inside = |request: &PortRequest| (request.container_port, request.protocol);
        let published: BTreeSet<_> = specs.iter().flat_map(|spec| &spec.ports).map(inside).collect();
        let further = spec.ports.iter().filter(|request| !published.contains(&inside(request)));
        let ports: Vec<PortRequest> = further.cloned().collect();
        if !ports.is_empty() {
            specs.push(PortSpec { text: spec.text.clone(), ports });
        }
    }
    specs
}

/// The ports that are offered, each once and in order.
pub fn exposed(specs: &[PortSpec]) -> Vec<(u16, Protocol)> {
    let ports = specs.iter().flat_map(|spec| &spec.ports);
    let ports: BTreeSet<_> = ports.map(|request| (request.container_port, request.protocol)).collect();
    ports.into_iter().collect()
}

/// A spec taken apart, before its ranges are unrolled.
#[derive(Default)]
struct Parts<'a> {
    protocol: Option<&'a str>,
    address: Option<&'a str>,
    host: Option<&'a str>,
    container: Option<&'a str>,
    sources: Sources,
}

impl<'a> Parts<'a> {
    /// `[[ADDRESS:][HOST]:]CONTAINER[/PROTOCOL]`
    fn short(text: &'a str) -> Result<Self, Error> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, Some(protocol)),
            None => (text, None),
        };
        let mut from_the_right = ports.rsplitn(3, ':');
        let container = from_the_right.next().filter(|part| !part.is_empty());
        let host = from_the_right.next();
        let address = from_the_right.next();
        if container.is_none() {
            return Err(Error::NoPort(text.to_owned()));
        }
        Ok(Self { protocol, address, host, container, sources: Sources::default() })
    }

    /// `key=value,key=value`
    fn long(text: &'a str) -> Result<Self, Error> {
        let mut parts = Self::default();
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key == "from" {
                parts.sources.add(value)?;
                continue;
            }
            let place = match key {
                "published" => &mut parts.host,
                "target" => &mut parts.container,
                "protocol" => &mut parts.protocol,
                "host-ip" => &mut parts.address,
                _ => return Err(Error::Key(key.to_owned())),
            };
            if value.is_empty() || place.replace(value).is_some() {
                return Err(Error::Value(key.to_owned()));
            }
        }
        if parts.container.is_none() { Err(Error::NoTarget) } else { Ok(parts) }
    }

    fn requests(&self) -> Result<Vec<PortRequest>, Error> {
        let protocol = self.protocol.unwrap_or("tcp").parse().map_err(Error::Protocol)?;
        let host_address = self.address.map(address).transpose()?.flatten();
        self.sources.check(host_address)?;
        let inside = range("containerPort", self.container.unwrap_or_default())?;
        let request = |(container_port, host_port)| PortRequest {
            protocol,
            host_address,
            host_port,
            container_port,
            sources: self.sources.clone(),
        };
        Ok(pairs(inside, outside(self.host)?)?.into_iter().map(request).collect())
    }
}

/// The host's side: no part, an empty one and port 0 all mean "any".
fn outside(host: Option<&str>) -> Result<Option<(u16, u16)>, Error> {
    match host.unwrap_or_default() {
        "" | "0" => Ok(None),
        text => range("hostPort", text).map(Some),
    }
}

/// Each port inside with what it wants on the host.
fn pairs(inside: (u16, u16), outside: Option<(u16, u16)>) -> Result<Vec<(u16, HostPort)>, Error> {
    let container = inside.0..=inside.1;
    let Some((first, last)) = outside else {
        return Ok(container.map(|port| (port, HostPort::Any)).collect());
    };
    if inside.0 == inside.1 {
        return Ok(vec![(inside.0, HostPort::FirstFree(first, last))]);
    }
    if inside.1 - inside.0 != last - first {
        let show = |(first, last): (u16, u16)| format!("{first}-{last}");
        return Err(Error::Ranges { container: show(inside), host: show((first, last)) });
    }
    Ok(container.zip((first..=last).map(HostPort::exactly)).collect())
}

fn range(side: &'static str, text: &str) -> Result<(u16, u16), Error> {
    let invalid = || Error::Port { side, text: text.to_owned() };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first).ok_or_else(invalid)?, port(last).ok_or_else(invalid)?);
    if first <= last { Ok((first, last)) } else { Err(invalid()) }
}

/// One port; `u16::from_str` alone would take `+80`.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// An address of the host, in brackets or not; an empty one is none.
fn address(text: &str) -> Result<Option<IpAddr>, Error> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(|| Error::Address(text.to_owned()))?,
        None => text,
    };
    if bare.is_empty() {
        return Ok(None);
    }
    bare.parse().map(Some).map_err(|_| Error::Address(text.to_owned()))
}

/// Why a request that was understood cannot be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsupported {
    /// An IPv4 packet cannot be made an IPv6 packet: the client's address does not say what it would become.
    #[error("the IPv4 address {0} of the host leads to an IPv4 address only, and the endpoint has none")]
    NoIpv4(IpAddr),
    /// Between the families a checksum over the whole packet would change.
    #[error("SCTP is not translated between IPv6 and IPv4, and the endpoint has no IPv6 address behind {0}")]
    Sctp(IpAddr),
}

impl PortRequest {
    /// The host addresses to publish on, when this version can serve the request. `default` is the network's: `0.0.0.0`
    /// stands for every address of each family that the endpoint has, as Docker has it.
    pub fn addresses(&self, default: IpAddr, endpoint: &Attachment) -> Result<Vec<IpAddr>, Unsupported> {
        let everywhere: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        if self.host_address.is_none() && default == everywhere {
            let any4 = endpoint.addr4.map(|_| everywhere);
            return Ok(any4
                .into_iter()
                .chain(endpoint.addr6.map(|_| Ipv6Addr::UNSPECIFIED.into()))
                .collect());
        }
        let address = self.host_address.unwrap_or(default);
        match endpoint.behind(address) {
            Some(_) if self.protocol == Protocol::Sctp && address.is_ipv6() && endpoint.addr6.is_none() => {
                Err(Unsupported::Sctp(address))
            }
            Some(_) => Ok(vec![address]),
            None => Err(Unsupported::NoIpv4(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ports as `ADDRESS HOST->INSIDE/PROTOCOL`, `*` for any.
    fn read(text: &str) -> Result<Vec<String>, Error> {
        let show = |request: &PortRequest| {
            let address = request.host_address.map_or("*".to_owned(), |address| address.to_string());
            let host = match request.host_port {
                HostPort::Any => "*".to_owned(),
                HostPort::FirstFree(first, last) if first == last => first.to_string(),
                HostPort::FirstFree(first, last) => format!("{first}-{last}"),
            };
            format!("{address} {host}->{}/{}", request.container_port, request.protocol)
        };
        Ok(text.parse::<PortSpec>()?.ports.iter().map(show).collect())
    }

    #[test]
    fn the_grammar_of_docker() {
        let table: &[(&str, &[&str])] = &[
            ("80", &["* *->80/tcp"]),
            ("80/tcp", &["* *->80/tcp"]),
            ("80/UDP", &["* *->80/udp"]),
            ("80/sctp", &["* *->80/sctp"]),
            (":80", &["* *->80/tcp"]),
            ("0:80", &["* *->80/tcp"]),
            ("8080:80", &["* 8080->80/tcp"]),
            ("8080:80/udp", &["* 8080->80/udp"]),
            ("1.2.3.4:8080:80", &["1.2.3.4 8080->80/tcp"]),
            ("1.2.3.4::80", &["1.2.3.4 *->80/tcp"]),
            ("0.0.0.0:8080:80", &["0.0.0.0 8080->80/tcp"]),
            ("[::1]:8080:80", &["::1 8080->80/tcp"]),
            ("[::]::80", &[":: *->80/tcp"]),
            ("::1:8080:80", &["::1 8080->80/tcp"]),
            ("3000-3002", &["* *->3000/tcp", "* *->3001/tcp", "* *->3002/tcp"]),
            ("9000-9001:80-81", &["* 9000->80/tcp", "* 9001->81/tcp"]),
            ("1.2.3.4:9000-9001:80-81/udp", &["1.2.3.4 9000->80/udp", "1.2.3.4 9001->81/udp"]),
            ("8000-8010:80", &["* 8000-8010->80/tcp"]),
            ("published=8080,target=80", &["* 8080->80/tcp"]),
            ("target=80,protocol=udp,host-ip=1.2.3.4", &["1.2.3.4 *->80/udp"]),
            ("published=9000-9001,target=80-81", &["* 9000->80/tcp", "* 9001->81/tcp"]),
            ("65535:65535", &["* 65535->65535/tcp"]),
        ];
        for (text, expected) in table {
            assert_eq!(read(text).as_deref(), Ok(expected.map_to_owned().as_slice()), "{text}");
        }
    }

    trait MapToOwned {
        fn map_to_owned(&self) -> Vec<String>;
    }

    impl MapToOwned for &[&str] {
        fn map_to_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn refusals_begin_with_the_words_of_docker() {
        for (text, words) in [
            ("8080:", "no port specified: 8080:<empty>"),
            ("8080:99999", "invalid containerPort: 99999"),
            ("80-:80", "invalid hostPort: 80-"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("80/icmp", "invalid proto: icmp"),
            ("9000-9002:80-81", "invalid ranges specified for container and host Ports: 80-81 and 9000-9002"),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    #[test]
    fn exposed_ports_are_published_once_and_only_with_all() {
        let specs =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<PortSpec>>();
        let (publish, expose) = (specs(&["8080:80"]), specs(&["80", "79-81", "80/udp", "81"]));
        assert_eq!(with_exposed(&publish, &expose, false), publish);
        let all = with_exposed(&publish, &expose, true);
        let inside: Vec<String> = all
            .iter()
            .flat_map(|spec| &spec.ports)
            .map(|request| format!("{}/{}", request.container_port, request.protocol))
            .collect();
        assert_eq!(inside, ["80/tcp", "79/tcp", "81/tcp", "80/udp"]);
        let offered = exposed(&expose);
        assert_eq!(offered.len(), 4, "{offered:?}");
    }

    #[test]
    fn garbage_is_refused() {
        let garbage = [
            "",
            ":",
            "a",
            "80:",
            "8080:80:",
            "0",
            "-80",
            "80-",
            "+80",
            "65536",
            "99999999999",
            "82-80",
            "80/",
            "80/icmp",
            "80/tcp/udp",
            "1.2.3:80:80",
            "[::1:80:80",
            "host:80:80",
            "9000-9002:80-81",
            "9000:80-81",
            "80 ",
            "8080:0",
            "target=80,target=81",
            "published=80",
            "target=",
            "target=80,mode=host",
            "target=80,from=x",
            "target=80,from=",
            "target=80,from",
            "target=80,from=10.0.0.1/8",
            "target=80,from=10.0.0.0/8,from=",
            "target=80,host-ip=1.2.3.4,from=fd00::/8",
            "target=80,host-ip=::1,from=10.0.0.0/8",
            "8080:80,from=10.0.0.0/8",
            "target=80,",
            "1.2.3.4:80",
            "8080:80/tcp:90",
        ];
        for text in garbage {
            assert!(text.parse::<PortSpec>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn every_port_of_a_range_has_the_sources() {
        let read = |text: &str| text.parse::<PortSpec>().unwrap().ports;
        let ports = read(
            "from=fd00::/8,published=9000-9001,target=80-81,from=10.0.0.0/8,from=10.0.0.0/8,protocol=udp",
        );
        assert_eq!(ports.len(), 2);
        assert!(ports.iter().all(|port| port.sources.to_string() == "10.0.0.0/8,fd00::/8"), "{ports:?}");
        assert!(read("8080:80")[0].sources.is_everybody());
        assert_eq!(read("target=80,host-ip=::1,from=::/0")[0].sources.to_string(), "::/0");
    }

    #[test]
    fn ranges_of_different_length_use_the_words_of_docker() {
        let error = "9000-9002:80-81".parse::<PortSpec>().unwrap_err();
        assert!(error.to_string().starts_with("invalid ranges specified for container and host Ports"));
        assert!("8080:80:".parse::<PortSpec>().unwrap_err().to_string().starts_with("no port specified"));
    }

    fn endpoint(addr4: Option<&str>, addr6: Option<&str>) -> Attachment {
        Attachment {
            id: crate::names::Id::stored("1".repeat(64)),
            network: 1,
            addr4: addr4.map(|text| text.parse().unwrap()),
            addr6: addr6.map(|text| text.parse().unwrap()),
            mac: crate::model::Mac([2, 0, 0, 0, 0, 1]),
            ifname: "eth0".to_owned(),
            options: crate::model::AttachmentOptions::default(),
            ports: Vec::new(),
            lease: None,
        }
    }

    fn ask(text: &str, default: &str, endpoint: &Attachment) -> Result<Vec<String>, Unsupported> {
        let spec: PortSpec = text.parse().unwrap();
        let addresses = spec.ports[0].addresses(default.parse().unwrap(), endpoint)?;
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_the_datapath_cannot_do_is_refused_by_name() {
        let only4 = endpoint(Some("10.0.0.2"), None);
        let loopback = "::1".parse().unwrap();
        assert_eq!(ask("[::1]:8080:80/sctp", "0.0.0.0", &only4), Err(Unsupported::Sctp(loopback)));
        let only6 = endpoint(None, Some("fd00::2"));
        for text in ["1.2.3.4:8080:80", "0.0.0.0:8080:80"] {
            assert!(matches!(ask(text, "0.0.0.0", &only6), Err(Unsupported::NoIpv4(_))), "{text}");
        }
    }

    #[test]
    fn a_port_without_address_listens_in_each_family_that_the_endpoint_has() {
        let both = endpoint(Some("10.0.0.2"), Some("fd00::2"));
        let (only4, only6) = (endpoint(Some("10.0.0.2"), None), endpoint(None, Some("fd00::2")));
        let of = |text, default, endpoint| ask(text, default, endpoint).unwrap().join(" ");
        assert_eq!(of("8080:80", "0.0.0.0", &both), "0.0.0.0 ::");
        assert_eq!(of("8080:80", "0.0.0.0", &only4), "0.0.0.0");
        assert_eq!(of("8080:80", "0.0.0.0", &only6), "::");
        assert_eq!(of("0.0.0.0:8080:80", "0.0.0.0", &both), "0.0.0.0");
        assert_eq!(of("8080:80", "127.0.0.1", &both), "127.0.0.1");
        assert_eq!(of("8080:80", "::", &both), "::");
        assert_eq!(of("[::1]:8080:80", "0.0.0.0", &only4), "::1", "to IPv4");
        assert_eq!(of("80/sctp", "0.0.0.0", &both), "0.0.0.0 ::");
        assert_eq!(of("[::1]:8080:80/sctp", "0.0.0.0", &both), "::1");
    }
}
