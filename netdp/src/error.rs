//! What can go wrong, in words for the operator: what failed, why, and what to do about it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::model::PublishedPort;
use crate::names::Unresolved;
use crate::{datapath, dhcp, dns, host, ipam, lan, netlink, output, plan, process, publish, service, store};

/// Why a command did not do what it was asked for. The host and the database are as they were before, unless
/// the message says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A word names nothing, or too much.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// An address or a subnet cannot be had.
    #[error(transparent)]
    Ipam(#[from] ipam::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Links, addresses and routes.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// Programs and maps.
    #[error(transparent)]
    Datapath(#[from] datapath::Error),
    /// Network namespaces.
    #[error(transparent)]
    Netns(#[from] host::netns::Error),
    /// Kernel settings.
    #[error(transparent)]
    Sysctl(#[from] host::sysctl::Error),
    /// The file system of the pins.
    #[error(transparent)]
    Bpffs(#[from] host::bpffs::Error),
    /// The locks of the run directory.
    #[error(transparent)]
    Lock(#[from] host::lock::Error),
    /// The interfaces that lead out.
    #[error(transparent)]
    Uplink(#[from] host::uplink::Error),
    /// A socket of another program has the port.
    #[error(transparent)]
    Bind(#[from] host::ports::Error),
    /// An interface of somebody else's is in the way.
    #[error(transparent)]
    Foreign(#[from] plan::Foreign),
    /// A network on a LAN.
    #[error(transparent)]
    Lan(#[from] lan::Error),
    /// An address by DHCP.
    #[error(transparent)]
    Dhcp(#[from] dhcp::Error),
    /// Processes that netdp starts itself.
    #[error(transparent)]
    Process(process::Error),
    /// Serving names.
    #[error(transparent)]
    Dns(#[from] dns::Error),
    /// Serving the datapath.
    #[error(transparent)]
    Service(#[from] service::Error),
    /// A `-p` that this version cannot serve.
    #[error("cannot publish {spec}: {why}")]
    Publish {
        /// As it was given.
        spec: String,
        /// Why.
        why: publish::Unsupported,
    },
    /// A host port that one of our endpoints has.
    #[error("Bind for {asked} failed: port is already allocated by {by} ({held})")]
    PortTaken {
        /// The address and port asked for.
        asked: SocketAddr,
        /// Who has it: `endpoint NAME`.
        by: String,
        /// What it has published, as `port` prints it.
        held: String,
    },
    /// All ports that were allowed are taken.
    #[error("no free port for {spec} on {addresses}")]
    NoPort {
        /// As it was given.
        spec: String,
        /// The addresses asked for.
        addresses: String,
    },
    /// A prefix that is not in the deny list.
    #[error("no such prefix in the deny list: {0}")]
    NotDenied(IpNet),
    /// Everybody of a family.
    #[error("{0} is everybody: all that comes in would be refused, also answers to this host's own packets")]
    DenyEverybody(IpNet),
    /// The datapath is not there.
    #[error("netdp is not up on this host: run netdp up")]
    NotUp,
    /// What `check --deep` has found.
    #[error("database and kernel differ ({0})")]
    Differs(String),
    /// The machine lacks something.
    #[error("this host lacks {0}")]
    Lacks(String),
    /// The process lacks something.
    #[error("this process lacks {0}")]
    Unprivileged(String),
    /// An option or a driver that the contract knows and this version does not.
    #[error("{0} is not supported in this version")]
    Unsupported(String),
    /// A `-o` option that nobody knows.
    #[error("unknown option {key:?}: known are {known}")]
    UnknownOption {
        /// The option.
        key: String,
        /// Those that are known.
        known: String,
    },
    /// A value that an option cannot have.
    #[error("invalid value {value:?} of {key}: it takes {accepted}")]
    InvalidValue {
        /// The option.
        key: String,
        /// The value.
        value: String,
        /// What it takes.
        accepted: &'static str,
    },
    /// A source for what is masqueraded that is not the host's.
    #[error("snat-ip {address} is no address of this host that the outside knows; it has {there}")]
    SnatIp {
        /// As it was given.
        address: IpAddr,
        /// Those that could be.
        there: String,
    },
    /// A default of the host that is not there.
    #[error("there is no default {name:?}: there are {known}")]
    UnknownDefault {
        /// As it was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A timer that is not there.
    #[error("there is no timer {name:?}: there are {known}")]
    UnknownTimer {
        /// As it was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A limit that is not there.
    #[error("there is no limit {name:?}: there are {known}")]
    UnknownLimit {
        /// As it was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// What no limit can be set to.
    #[error("limit {name} cannot be {value:?}: it takes {least} to {most}")]
    LimitRange {
        /// The limit.
        name: String,
        /// As it was given.
        value: String,
        /// The least.
        least: u32,
        /// The most.
        most: u32,
    },
    /// What no timer can be set to.
    #[error("timer {name} cannot be {value:?}: it takes {}", crate::command::timer_range())]
    TimerRange {
        /// The timer.
        name: String,
        /// As it was given.
        value: String,
    },
    /// Less than an RFC asks for.
    #[error(
        "timer {name} cannot be {seconds} s: {source_of_floor} asks for at least {floor} s; --unsafe sets it nevertheless"
    )]
    TimerFloor {
        /// The timer.
        name: String,
        /// What was asked for.
        seconds: u32,
        /// What is asked of us.
        floor: u32,
        /// By whom.
        source_of_floor: &'static str,
    },
    /// A name that is taken.
    #[error("{kind} with name {name} already exists")]
    NameTaken {
        /// `network` or `endpoint`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The same name, but another namespace.
    #[error("endpoint {name} is another network namespace: {path}")]
    OtherNetns {
        /// The endpoint.
        name: String,
        /// Its namespace.
        path: PathBuf,
    },
    /// The namespace is an endpoint under another name.
    #[error("this network namespace is attached already, as endpoint {0}")]
    OtherName(String),
    /// The namespace is attached to the network already, otherwise than asked for.
    #[error("endpoint {endpoint} is attached to network {network} already, with {what}")]
    AttachedOtherwise {
        /// The endpoint.
        endpoint: String,
        /// The network.
        network: String,
        /// What is otherwise.
        what: String,
    },
    /// The endpoint is there already, otherwise than asked for.
    #[error("endpoint {name} is there already, with {what}")]
    EndpointOtherwise {
        /// The endpoint.
        name: String,
        /// What is otherwise.
        what: String,
    },
    /// An endpoint that is to join a network that it is in.
    #[error("endpoint with name {endpoint} already exists in network {network}")]
    AlreadyConnected {
        /// The endpoint.
        endpoint: String,
        /// The network.
        network: String,
    },
    /// It is not.
    #[error("endpoint {endpoint} is not attached to network {network}")]
    NotAttached {
        /// The endpoint.
        endpoint: String,
        /// The network.
        network: String,
    },
    /// The container has an interface of that name.
    #[error("the network namespace has an interface {0} already")]
    IfnameTaken(String),
    /// The namespace that an endpoint was attached in does not exist any more.
    #[error("the network namespace {0} is gone, or is another one now")]
    NetnsGone(PathBuf),
    /// A network that endpoints are attached to.
    #[error("network {name} has active endpoints: {endpoints}")]
    NetworkInUse {
        /// The network.
        name: String,
        /// Who is attached.
        endpoints: String,
    },
    /// A network that is always there.
    #[error("network {0} is pre-made and stays")]
    Premade(String),
    /// An endpoint that no packet of the family comes from or leads to.
    #[error(
        "{endpoint} has no {family} address: ask about the other family, or join it to a network that has one"
    )]
    NoAddress {
        /// The endpoint.
        endpoint: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// A network that nobody can be attached to.
    #[error("cannot attach to network {name}: its driver is {driver}")]
    NotAttachable {
        /// The network.
        name: String,
        /// `host` or `null`.
        driver: &'static str,
    },
    /// An address of a family that the network does not have.
    #[error("network {network} has no {family} addresses, so that {asked} cannot be had")]
    NoFamily {
        /// The network.
        network: String,
        /// The address asked for.
        asked: IpAddr,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// Addresses of a family that is not asked for.
    #[error("{what} is of IPv{family}, which the network is not to have")]
    FamilyOff {
        /// The option and its value.
        what: String,
        /// `4` or `6`.
        family: u8,
    },
    /// No family at all.
    #[error("a network needs IPv4 addresses, IPv6 addresses or both")]
    NoFamilies,
    /// Nothing leads into an internal network.
    #[error("cannot publish ports in network {0}: it is internal")]
    InternalPublish(String),
    /// A port inside that is not published.
    #[error("no public port {port} published for {endpoint}")]
    NotPublished {
        /// The port and protocol.
        port: String,
        /// The endpoint.
        endpoint: String,
    },
    /// A link that was there a moment ago.
    #[error("interface {0} has gone while it was needed")]
    LinkGone(String),
    /// Nothing is asked about an interface that the programs do not look at.
    #[error("{name} is no uplink of this host; its uplinks are: {there}")]
    NoSuchUplink {
        /// As the user gave it.
        name: String,
        /// Those that are.
        there: String,
    },
    /// It was told to end and did not.
    #[error("the controller (process {0}) does not end")]
    ControllerStays(u32),
    /// SIGTERM or SIGINT came.
    #[error("interrupted; what was begun has been taken back")]
    Interrupted,
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[from] io::Error),
    /// A file or directory.
    #[error("cannot {what}")]
    Io {
        /// The verb and what it was done to.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A removal that did not remove everything.
    #[error("{} things could not be removed: {}", .0.len(), list(.0))]
    Several(Vec<Self>),
}

/// A word that names nothing is that, whoever was asked.
impl From<process::Error> for Error {
    fn from(error: process::Error) -> Self {
        match error {
            process::Error::Unresolved(error) => Self::Unresolved(error),
            error => Self::Process(error),
        }
    }
}

fn list(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// A value that an option does not take.
    pub fn invalid_value(key: &str, value: &str, accepted: &'static str) -> Self {
        Self::InvalidValue { key: key.to_owned(), value: value.to_owned(), accepted }
    }

    /// A failed file operation, for `map_err`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// None, one or several errors as one answer.
    pub fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// What the operator can do, where the message itself does not say it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Unresolved(Unresolved::Unknown { nearest, .. }) if !nearest.is_empty() => {
                Some(format!("did you mean {}?", nearest.join(" or ")))
            }
            Self::Unresolved(Unresolved::Unknown { kind: "network", .. }) => {
                Some("see netdp network ls".to_owned())
            }
            Self::Unresolved(Unresolved::Unknown { .. }) => Some("see netdp ps -a".to_owned()),
            Self::Unresolved(Unresolved::Ambiguous { .. }) => Some("give more digits of the id".to_owned()),
            Self::Ipam(error) => error.advice().map(str::to_owned),
            Self::Lan(error) => error.advice().map(str::to_owned),
            Self::Dhcp(error) => error.advice().map(str::to_owned),
            Self::Process(error) => error.advice().map(str::to_owned),
            Self::Store(error) => error.advice(),
            Self::Config(error) => error.advice(),
            Self::Dns(error) => error.advice().map(str::to_owned),
            _ => self.plain_advice().map(str::to_owned),
        }
    }

    fn plain_advice(&self) -> Option<&'static str> {
        match self {
            Self::Foreign(_) => Some("remove or rename it, or choose another -o bridge-name"),
            Self::PortTaken { .. } => Some("publish on another port or address, or detach that endpoint"),
            Self::Bind(host::ports::Error::InUse(_)) => Some(
                "another program of this host has the port (see ss -lntup): end it, or publish on another port",
            ),
            Self::NoPort { .. } => Some("widen the range, or detach endpoints that publish there"),
            Self::Unprivileged(_) => Some("run netdp as root"),
            Self::Differs(_) => Some(
                "netdp up --once puts right what is on the host; what differs inside a container comes back when it is \
                 detached and attached again",
            ),
            Self::Datapath(datapath::Error::Program { refusal: datapath::Refusal::Denied, .. }) => {
                Some("run netdp as root")
            }
            Self::Datapath(datapath::Error::Program { .. }) => Some(
                "netdp check shows what this kernel offers and lacks; NETDP_LOG=debug shows the verifier's log",
            ),
            Self::Datapath(_) if self.is_lack() => Some("run netdp as root"),
            Self::Lacks(_) => Some("netdp check shows all that this host offers and lacks"),
            Self::Datapath(datapath::Error::Schema { .. }) => Some(
                "nothing was changed: go on with that version, or run netdp down, which ends all connections, and then \
                 netdp up",
            ),
            Self::NameTaken { .. } => Some("choose another name, or remove the old one first"),
            Self::OtherNetns { .. } => Some("choose another --name, or netdp detach the old one first"),
            Self::NoFamily { .. } => {
                Some("create a network with --ipv4 and --ipv6, or leave the address out")
            }
            Self::SnatIp { .. } => {
                Some("give the address to an interface first, or leave out -o snat-ip: the route chooses")
            }
            Self::FamilyOff { family: 6, .. } => Some("add --ipv6"),
            Self::FamilyOff { .. } => Some("leave out --ipv4=false"),
            Self::NoFamilies => Some("add --ipv6, or leave out --ipv4=false"),
            Self::OtherName(_) => Some("use that name, or netdp detach it first"),
            Self::AlreadyConnected { .. } => {
                Some("netdp network disconnect it first, if it is to have other options")
            }
            Self::AttachedOtherwise { .. } => Some(
                "netdp detach it first if it is to have other options; for another network, name it by --network",
            ),
            Self::EndpointOtherwise { .. } => {
                Some("leave the option out to have one more interface, or netdp detach the endpoint first")
            }
            Self::NetworkInUse { .. } => Some("netdp detach them first, or remove with -f"),
            Self::NotDenied(_) => Some("see netdp deny ls"),
            Self::DenyEverybody(_) => Some("say --force if that is what you want"),
            Self::NetnsGone(_) => {
                Some("netdp detach the endpoint, or attach it again with its new namespace")
            }
            Self::IfnameTaken(_) => Some("choose another --ifname, or leave it out"),
            Self::ControllerStays(_) => {
                Some("end it with SIGKILL, which leaves the datapath as it is, and try again")
            }
            Self::Several(_) => Some("netdp up removes what is left over"),
            _ => None,
        }
    }

    /// The exit code that the contract has for it: 3 when the host lacks something, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Process(error) => error.exit_code(),
            _ if self.is_lack() => 3,
            _ => 1,
        }
    }

    fn is_lack(&self) -> bool {
        match self {
            Self::Lacks(_) | Self::Unprivileged(_) => true,
            Self::Store(error) => error.is_denied(),
            Self::Netlink(error) => error.is_denied(),
            Self::Bpffs(error) => error.is_denied(),
            Self::Datapath(error) => error.is_lack(),
            Self::Dns(error) => error.is_lack(),
            Self::Io { source, .. } | Self::Lock(host::lock::Error::File { cause: source, .. }) => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }

    /// Whether somebody has what was asked for.
    pub fn is_taken(&self) -> bool {
        matches!(
            self,
            Self::PortTaken { .. }
                | Self::NoPort { .. }
                | Self::Bind(_)
                | Self::Ipam(ipam::Error::InUse(_) | ipam::Error::Exhausted(_))
                | Self::Dhcp(dhcp::Error::Taken { .. })
        )
    }

    /// Whether the reader of the result has gone, as `head` does: that is no failure.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// A port that one of our endpoints has published.
    pub fn port_taken(asked: SocketAddr, by: String, held: &PublishedPort) -> Self {
        let sources = output::sources(held);
        let held = format!("{}/{} -> {}{sources}", held.container_port, held.protocol, held.host_side());
        Self::PortTaken { asked, by, held }
    }
}
