//! The command line: types for clap and the help, which lives here and nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::deny::{self, Prefix};
use crate::model::{Mac, Mechanism, Prefilter, Protocol};
use crate::names::Name;
use crate::publish::PortSpec;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "netdp",
    version,
    about = "Container networking whose packets are moved by eBPF",
    after_help = "Begin with:\n  \
        netdp check                                        what this machine offers\n  \
        netdp up --once                                    bring the datapath up\n  \
        netdp attach --netns /run/netns/web --name web -p 8080:80\n  \
        netdp ps                                           who is attached\n  \
        netdp down                                         take all of it away\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong command line, 3 the host lacks something."
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub common: Common,
    /// How the result is printed; a command's own `-o` wins.
    #[command(flatten)]
    pub format: FormatArg,
    /// Say less on stderr: errors only.
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Args, Debug)]
pub struct Common {
    /// Where what lives as long as the datapath is kept: lock, pinned programs and maps.
    #[arg(long, env = "NETDP_RUN_DIR", default_value = "/run/netdp", value_name = "DIR", global = true)]
    pub run_dir: PathBuf,
    /// Where the database is kept.
    #[arg(
        long,
        env = "NETDP_STATE_DIR",
        default_value = "/var/lib/netdp",
        value_name = "DIR",
        global = true
    )]
    pub state_dir: PathBuf,
    /// Say more on stderr; twice for everything. `NETDP_LOG` takes a filter such as netdp=debug.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// How a result is printed.
#[derive(Args, Clone, Copy, Debug)]
pub struct FormatArg {
    /// Print the result as a table or as one JSON document [default: table].
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// The forms of a result.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one document with stable keys.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the datapath up on this host and serve it
    Up(Up),
    /// Take away everything that netdp made on this host
    Down(Down),
    /// Show the datapath; exit 0 when it is up
    Status(Plain),
    /// Show what this kernel and machine offer and lack; changes nothing
    Check(Plain),
    /// Create, show and remove networks
    #[command(subcommand)]
    Network(Network),
    /// Join a network namespace to a network
    Attach(Attach),
    /// Take an endpoint off its networks
    Detach(Detach),
    /// List endpoints
    Ps(Ps),
    /// Show all there is to know about an endpoint, as JSON
    Inspect(Inspect),
    /// Show which ports of the host lead to an endpoint
    Port(Port),
    /// List the live flows
    Flows(Plain),
    /// Count dropped packets by reason
    Drops(Plain),
    /// Refuse whatever comes from some addresses
    #[command(subcommand)]
    Deny(Deny),
    /// Show and set how long flows live without a packet
    #[command(subcommand)]
    Timers(Timers),
    /// Show and set what one container may have of flows and ports
    #[command(subcommand)]
    Limits(Limits),
    /// Show and set what holds for networks that do not say it themselves
    #[command(subcommand)]
    Defaults(Defaults),
}

/// `netdp limits ...`
#[derive(Debug, Subcommand)]
pub enum Limits {
    /// List the limits: value, default, range, and of what each is
    #[command(visible_alias = "list")]
    Ls(Plain),
    /// Set limits; they hold at once, for flows that begin, and after the next `netdp up`. Only that of the table waits for
    /// the `netdp up` after the next `netdp down`
    Set(LimitsSet),
    /// Give limits their defaults back
    Reset(LimitsReset),
}

/// `netdp limits set`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp limits set flows=65536 half-open=8192\n  \
    netdp limits set table=1000000    a million flows, some 500 MB of memory, after netdp down and netdp up")]
pub struct LimitsSet {
    /// A limit of `netdp limits ls`, and its value.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = key_value)]
    pub limits: Vec<(String, String)>,
}

/// `netdp limits reset`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  netdp limits reset flows\n  netdp limits reset    all of them")]
pub struct LimitsReset {
    /// Limits of `netdp limits ls`; all when none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// `netdp defaults ...`
#[derive(Debug, Subcommand)]
pub enum Defaults {
    /// List the defaults
    #[command(visible_alias = "list")]
    Ls(Plain),
    /// Set defaults; they hold at once, for new flows, and after the next `netdp up`
    Set(DefaultsSet),
    /// Have them as they were at first
    Reset(DefaultsReset),
}

/// `netdp defaults set`
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  netdp defaults set udp-filtering=endpoint-independent")]
pub struct DefaultsSet {
    /// A default of `netdp defaults ls`, which is an option of `netdp network create -o` too, and its value.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = key_value)]
    pub defaults: Vec<(String, String)>,
}

/// `netdp defaults reset`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  netdp defaults reset udp-mapping\n  netdp defaults reset    all of them"
)]
pub struct DefaultsReset {
    /// Defaults of `netdp defaults ls`; all when none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// `netdp timers ...`
#[derive(Debug, Subcommand)]
pub enum Timers {
    /// List the timers: seconds, default, what an RFC asks for, and what each is for
    #[command(visible_alias = "list")]
    Ls(Plain),
    /// Set timers; they hold at once, for the flows that are there too, and after the next `netdp up`
    Set(TimersSet),
    /// Give timers their defaults back
    Reset(TimersReset),
}

/// `netdp timers set`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp timers set established=7440 replied=180\n  \
    netdp timers set --unsafe established=3600    below what RFC 5382 asks for")]
pub struct TimersSet {
    /// Allow less than an RFC asks for: connections that are only quiet may be cut.
    #[arg(long = "unsafe")]
    pub below_floor: bool,
    /// A timer of `netdp timers ls`, and the seconds without a packet after which a flow has ended.
    #[arg(required = true, value_name = "NAME=SECONDS", value_parser = key_value)]
    pub timers: Vec<(String, String)>,
}

/// `netdp timers reset`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  netdp timers reset established\n  netdp timers reset    all of them")]
pub struct TimersReset {
    /// Timers of `netdp timers ls`; all when none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// A command without options of its own.
#[derive(Args, Debug)]
pub struct Plain {
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp up`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp up                        serve until SIGTERM; traffic goes on without it\n  \
    netdp up --once                 bring it up and leave it without a process\n  \
    netdp up --uplink eth1 --once   only eth1 leads out\n  \
    netdp up --prefilter off        no XDP program on any interface")]
pub struct Up {
    /// An interface that leads out; every interface with a default route when none is named.
    #[arg(long = "uplink", value_name = "IF")]
    pub uplinks: Vec<String>,
    /// Where frames are looked at before all else: in the driver, in the kernel, or nowhere. auto is in the driver, else
    /// in the kernel, and nowhere on a veth, whose other end would lose its segmentation offload.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    pub prefilter: Prefilter,
    /// A mechanism that the programs do without, to measure what it is worth. Until the next `netdp up`.
    #[arg(long, value_name = "MECHANISM", hide = true)]
    pub without: Vec<Mechanism>,
    /// Bring the datapath up and end; it needs no process.
    #[arg(long)]
    pub once: bool,
    /// A configuration file (not supported in this version).
    #[arg(short, long, env = "NETDP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp down`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp down            the next `netdp up` brings the same networks and endpoints back\n  \
    netdp down --purge    forget them too")]
pub struct Down {
    /// Drop the database too.
    #[arg(long)]
    pub purge: bool,
}

/// `netdp network ...`
#[derive(Debug, Subcommand)]
pub enum Network {
    /// Create a network and print its id
    Create(NetworkCreate),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(NetworkLs),
    /// Show all there is to know about networks, as JSON
    Inspect(NetworkInspect),
    /// Remove networks that nobody is attached to
    #[command(visible_alias = "remove")]
    Rm(NetworkRm),
    /// Remove all networks that nobody is attached to
    Prune(NetworkPrune),
}

/// `netdp network create`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp network create blue\n  \
    netdp network create --subnet 10.5.0.0/16 --gateway 10.5.0.254 green\n  \
    netdp network create --internal -o icc=false quiet\n  \
    netdp network create --ipv6 both                          IPv4 and IPv6, free subnets\n  \
    netdp network create --ipv6 --subnet fd00:5::/64 --ipv4=false six\n\n\
    Options of -o: masquerade, icc, mtu, bridge-name, host-binding, udp-mapping, udp-filtering, or their com.docker.network names.")]
pub struct NetworkCreate {
    /// bridge is supported in this version.
    #[arg(short, long, value_enum, default_value = "bridge")]
    pub driver: DriverArg,
    /// The network's addresses, once per family; a free subnet is chosen without it.
    #[arg(long = "subnet", value_name = "CIDR")]
    pub subnets: Vec<IpNet>,
    /// The bridge's own address, once per family [default: the first of the subnet].
    #[arg(long = "gateway", value_name = "IP")]
    pub gateways: Vec<IpAddr>,
    /// Choose endpoints' addresses from this part of the subnet; once per family.
    #[arg(long = "ip-range", value_name = "CIDR")]
    pub ip_ranges: Vec<IpNet>,
    /// An address that no endpoint gets.
    #[arg(long = "aux-address", value_name = "NAME=IP", value_parser = key_value)]
    pub aux_addresses: Vec<(String, String)>,
    /// IPv6 addresses too.
    #[arg(long)]
    pub ipv6: bool,
    /// IPv4 addresses; --ipv4=false for none.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub ipv4: bool,
    /// No way in or out but from the host itself.
    #[arg(long)]
    pub internal: bool,
    /// An option of the driver, as in Docker; see below.
    #[arg(short = 'o', long = "opt", value_name = "KEY=VALUE", value_parser = key_value)]
    pub options: Vec<(String, String)>,
    /// A label.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Print the result as a table or as one JSON document [default: table].
    #[arg(long = "output", value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// The network's name.
    pub name: Name,
}

/// The drivers that the command line knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DriverArg {
    /// A bridge with a subnet of its own.
    Bridge,
    /// Not supported in this version.
    Macvlan,
    /// Not supported in this version.
    Ipvlan,
    /// The host's own namespace; made by `up` and there once.
    Host,
    /// No network; made by `up` and there once.
    None,
    /// Not supported in this version.
    Overlay,
}

/// `netdp network ls`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        netdp network ls\n  \
        netdp network ls -q -f driver=bridge\n  \
        netdp network ls -o json")]
pub struct NetworkLs {
    /// Print ids only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Only networks with this driver=, id=, label= or name=; may be repeated.
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = key_value)]
    pub filters: Vec<(String, String)>,
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp network inspect`
#[derive(Args, Debug)]
pub struct NetworkInspect {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Always JSON; here so that a script may say so.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp network rm`
#[derive(Args, Debug)]
pub struct NetworkRm {
    /// Detach who is attached, and do not mind a network that is not there.
    #[arg(short, long)]
    pub force: bool,
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `netdp network prune`
#[derive(Args, Debug)]
pub struct NetworkPrune {
    /// Do not ask; nothing is ever asked when stdin is no terminal.
    #[arg(short, long)]
    pub force: bool,
}

/// `netdp attach`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp attach --netns /run/netns/web --name web -p 8080:80\n  \
    netdp attach --pid 4711 --name db --network blue --ip 10.5.0.9\n  \
    netdp attach --netns /run/netns/web --name web --network blue    a second interface\n\n\
    Forms of -p: 80, 8080:80/udp, 127.0.0.1:8080:80, [::1]:8080:80, 1.2.3.4::80, 9000-9002:80-82, 8000-8010:80,\n\
    published=8080,target=80,protocol=tcp,host-ip=1.2.3.4,from=10.0.0.0/8,from=fd00::/8\n\n\
    from= lets only these networks use the port; it may be repeated, up to 64 times. Another container that uses the\n\
    host's address is judged by its own address. The host's own processes always reach the port.")]
pub struct Attach {
    /// The network namespace, as a path.
    #[arg(long, value_name = "PATH", required_unless_present = "pid", conflicts_with = "pid")]
    pub netns: Option<PathBuf>,
    /// The network namespace, as that of a process.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// The endpoint's name.
    #[arg(long)]
    pub name: Name,
    /// The network to join.
    #[arg(long, value_name = "NET", default_value = crate::model::DEFAULT_NETWORK)]
    pub network: String,
    /// The IPv4 address to take [default: the lowest free one].
    #[arg(long, value_name = "IP")]
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address to take, in a network with IPv6 [default: the lowest free one].
    #[arg(long, value_name = "IP")]
    pub ip6: Option<Ipv6Addr>,
    /// The MAC of the interface inside [default: 02:42 and the address].
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<Mac>,
    /// A port to publish, in one of the forms below; may be repeated.
    #[arg(short, long = "publish", value_name = "SPEC")]
    pub publish: Vec<PortSpec>,
    /// A port that -P publishes: 80, 80/udp or 80-82.
    #[arg(long = "expose", value_name = "PORT", value_parser = expose)]
    pub expose: Vec<PortSpec>,
    /// Publish every exposed port on a free port of the host.
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Name of the interface inside [default: the first free of eth0, eth1, ...].
    #[arg(long, value_name = "NAME", value_parser = ifname)]
    pub ifname: Option<String>,
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp detach`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  netdp detach web\n  netdp detach web --network blue")]
pub struct Detach {
    /// Name, id or beginning of an id.
    pub name: String,
    /// Only off this network.
    #[arg(long, value_name = "NET")]
    pub network: Option<String>,
}

/// `netdp ps`
#[derive(Args, Debug)]
pub struct Ps {
    /// Also those whose network namespace is gone.
    #[arg(short, long)]
    pub all: bool,
    /// Print ids only.
    #[arg(short, long)]
    pub quiet: bool,
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp inspect`
#[derive(Args, Debug)]
pub struct Inspect {
    /// Name, id or beginning of an id.
    pub name: String,
    /// Always JSON; here so that a script may say so.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp port`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  netdp port web\n  netdp port web 80\n  netdp port web 53/udp")]
pub struct Port {
    /// Name, id or beginning of an id.
    pub name: String,
    /// Only this port inside.
    #[arg(value_name = "PORT[/PROTOCOL]", value_parser = container_port)]
    pub port: Option<(u16, Protocol)>,
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp deny ...`
#[derive(Debug, Subcommand)]
pub enum Deny {
    /// Refuse all that comes in by an uplink from these prefixes; one that is in the list already stays in it
    Add(DenyAdd),
    /// Let them in again
    #[command(visible_alias = "remove")]
    Rm(DenyRm),
    /// Show the deny list
    #[command(visible_alias = "list")]
    Ls(Plain),
}

/// `netdp deny add`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp deny add 198.51.100.0/24\n  \
    netdp deny add 203.0.113.7 2001:db8:bad::/48    an address alone is a prefix of one\n  \
    netdp drops                                     counts what was refused as \"denied\"\n\n\
    The list outlives netdp down and a reboot, and holds while no controller runs. Answers to what containers or\n\
    the host send there are refused too. ARP and neighbour discovery pass.")]
pub struct DenyAdd {
    /// Also a prefix of length 0, which is everybody.
    #[arg(short, long)]
    pub force: bool,
    /// Addresses with the length of their prefix.
    #[arg(required = true, value_name = "CIDR", value_parser = deny::prefix)]
    pub prefixes: Vec<Prefix>,
}

/// `netdp deny rm`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  netdp deny rm 198.51.100.0/24\n  netdp deny rm 203.0.113.7 2001:db8:bad::/48"
)]
pub struct DenyRm {
    /// Prefixes as netdp deny ls shows them.
    #[arg(required = true, value_name = "CIDR", value_parser = deny::prefix)]
    pub prefixes: Vec<Prefix>,
}

impl Command {
    /// The command's own choice of format.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Up(args) => args.format.output,
            Self::Status(args)
            | Self::Check(args)
            | Self::Flows(args)
            | Self::Drops(args)
            | Self::Deny(Deny::Ls(args))
            | Self::Limits(Limits::Ls(args))
            | Self::Timers(Timers::Ls(args))
            | Self::Defaults(Defaults::Ls(args)) => args.format.output,
            Self::Network(Network::Create(args)) => args.output,
            Self::Network(Network::Ls(args)) => args.format.output,
            Self::Network(Network::Inspect(args)) => args.format.output,
            Self::Attach(args) => args.format.output,
            Self::Ps(args) => args.format.output,
            Self::Inspect(args) => args.format.output,
            Self::Port(args) => args.format.output,
            Self::Down(_)
            | Self::Detach(_)
            | Self::Network(Network::Rm(_) | Network::Prune(_))
            | Self::Deny(Deny::Add(_) | Deny::Rm(_))
            | Self::Limits(Limits::Set(_) | Limits::Reset(_))
            | Self::Timers(Timers::Set(_) | Timers::Reset(_))
            | Self::Defaults(Defaults::Set(_) | Defaults::Reset(_)) => None,
        }
    }
}

impl Cli {
    /// The format that holds.
    pub fn chosen_format(&self) -> Format {
        self.command.format().or(self.format.output).unwrap_or_default()
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// As in Docker a label may come without a value.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        Err("a label needs a key".to_owned())
    } else {
        Ok((key.to_owned(), value.to_owned()))
    }
}

fn expose(text: &str) -> Result<PortSpec, String> {
    if text.contains([':', '=']) {
        return Err("write it as PORT, PORT/PROTOCOL or FIRST-LAST".to_owned());
    }
    text.parse().map_err(|error: crate::publish::Error| error.to_string())
}

fn container_port(text: &str) -> Result<(u16, Protocol), String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse().map_err(|_| "write it as PORT or PORT/PROTOCOL".to_owned())?;
    Ok((port, protocol.parse()?))
}

/// What the kernel takes as the name of an interface.
fn ifname(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte));
    if printable && (1..=15).contains(&text.len()) && text != "." && text != ".." {
        return Ok(text.to_owned());
    }
    Err("the name of an interface has 1 to 15 characters, without blanks, `/`, `:` and `%`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("netdp").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_format_may_stand_before_or_behind_the_command() {
        for line in ["-o json network ls", "network ls -o json", "ps -o json", "-o json network create x"] {
            assert_eq!(parse(line).unwrap().chosen_format(), Format::Json, "{line}");
        }
        assert_eq!(parse("ps").unwrap().chosen_format(), Format::Table);
    }

    #[test]
    fn the_o_of_network_create_is_an_option_of_the_driver() {
        let Command::Network(Network::Create(args)) = parse("network create -o mtu=1400 x").unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!(args.options, [("mtu".to_owned(), "1400".to_owned())]);
        assert!(parse("network create -o json x").is_err());
    }

    #[test]
    fn wrong_lines_are_wrong() {
        for line in [
            "",
            "attach --name x",
            "attach --netns /a --pid 1 --name x",
            "attach --netns /a --name -x",
            "attach --netns /a --name x -p 99999",
            "attach --netns /a --name x --mac-address 1",
            "network create",
            "network create a/b",
            "network create --subnet 1.2.3.4/99 x",
            "network rm",
            "frobnicate",
            "-q -v ps",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn ipv4_can_be_said_off() {
        for (line, expected) in [("", true), ("--ipv4", true), ("--ipv4=false", false), ("--ipv4=true", true)]
        {
            let cli = parse(&format!("network create {line} x")).unwrap();
            let Command::Network(Network::Create(args)) = cli.command else { panic!("another command") };
            assert_eq!(args.ipv4, expected, "{line}");
        }
    }
}
