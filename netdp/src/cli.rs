//! The command line: types for clap and the help, which lives here and nowhere else.

mod argument;
mod connect;
mod endpoint;
mod network;
mod process;
mod settings;
mod trace;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::{Mechanism, Prefilter};

pub use argument::*;
pub use connect::*;
pub use endpoint::*;
pub use network::*;
pub use process::*;
pub use settings::*;
pub use trace::*;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "netdp",
    version,
    about = "Container networking whose packets are moved by eBPF",
    after_help = "Begin with:\n  \
        netdp check                                        what this machine offers\n  \
        netdp up                                           bring the datapath up, and serve it\n  \
        netdp network create shop\n  \
        netdp run -d --name web --network shop -p 8080:80 -- python3 -m http.server 80\n  \
        netdp attach --netns /run/netns/db --name db --network shop\n  \
        netdp ps                                           who is there\n  \
        netdp trace web db tcp:5432                        what would become of a packet, and why\n  \
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
    #[command(after_help = "Examples:\n  netdp status\n  netdp status -o json | jq .drops")]
    Status(Plain),
    /// Show what this kernel and machine offer and lack, or compare kernel and database; changes nothing
    Check(Check),
    /// Create, show and remove networks
    #[command(subcommand)]
    Network(Network),
    /// Join a network namespace to a network
    Attach(Box<Attach>),
    /// Take an endpoint off its networks
    Detach(Detach),
    /// Start a process in a network of its own
    Run(Box<Run>),
    /// Run a further command where a process or an endpoint lives
    Exec(Exec),
    /// Ask processes to end, and kill those that do not
    Stop(Stop),
    /// Forget processes that have ended
    Rm(Rm),
    /// Wait until processes end, and print their exit codes
    Wait(Wait),
    /// Show what a process in the background has printed
    Logs(Logs),
    /// What a process is before it is its command
    #[command(hide = true)]
    Init(Init),
    /// List endpoints and processes
    Ps(Ps),
    /// Show all there is to know about an endpoint, as JSON
    Inspect(Inspect),
    /// Show which ports of the host lead to an endpoint
    Port(Port),
    /// List the live flows
    #[command(after_help = "Examples:\n  netdp flows\n  netdp flows -o json | jq length")]
    Flows(Plain),
    /// Count dropped packets by reason
    #[command(after_help = "Examples:\n  netdp drops\n  netdp drops -o json")]
    Drops(Plain),
    /// Show step by step what would become of a packet, and by which rule
    Trace(Trace),
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
    /// Answer containers that ask for names; `netdp up` starts it
    #[command(hide = true)]
    Resolver(Resolver),
}

/// A command without options of its own.
#[derive(Args, Debug)]
pub struct Plain {
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp check`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp check                what netdp needs and whether it is there; exit code 3 when something is missing\n  \
    netdp check --deep         what should be on this host and what is; exit code 1 when they differ\n  \
    netdp check --deep -o json | jq .differences")]
pub struct Check {
    /// Compare the database with the kernel instead: bridges, addresses, interfaces inside and outside, routes, programs
    /// and every row of the maps.
    #[arg(long)]
    pub deep: bool,
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
    netdp up --prefilter off        no XDP program on any interface\n  \
    netdp up -c netdp.toml          with the networks and endpoints that a file declares\n  \
    netdp up -c /etc/docker/daemon.json --dry-run     what would be done, and nothing of it\n\n\
    netdp.toml, each key as in Docker's daemon.json where it has one:\n  \
    bip = \"172.30.0.1/16\"          and fixed-cidr, mtu, icc, ip, ip-masq, ipv6, dns, default-address-pools, ...\n  \
    uplinks = [\"eth0\"]             and prefilter, [limits], [timers], [defaults]\n  \
    [network.blue]                  subnet, gateway, internal, ipv6, options, labels, ...\n  \
    subnet = \"10.5.0.0/16\"\n  \
    [endpoint.web]                  attached as soon as its namespace is there\n  \
    netns = \"/run/netns/web\"\n  \
    network = \"blue\"\n  \
    publish = [\"8080:80\"]\n\n\
    While it serves, and after it has ended until `netdp down`, a process of its own answers on every gateway for the names \n\
    of containers. With --once there is none: names are not served then.")]
pub struct Up {
    /// An interface that leads out; every interface with a default route when none is named.
    #[arg(long = "uplink", value_name = "IF")]
    pub uplinks: Vec<String>,
    /// Where frames are looked at before all else: in the driver, in the kernel, or nowhere. auto is in the driver, else
    /// in the kernel, and nowhere on a veth, whose other end would lose its segmentation offload.
    /// [default: auto]
    #[arg(long, value_enum, value_name = "WHERE")]
    pub prefilter: Option<Prefilter>,
    /// A mechanism that the programs do without, to measure what it is worth. Until the next `netdp up`.
    #[arg(long, value_name = "MECHANISM", hide = true)]
    pub without: Vec<Mechanism>,
    /// Bring the datapath up and end; it needs no process. Names of containers are not served.
    #[arg(long)]
    pub once: bool,
    /// Where the host's name servers stand, which are asked for names that no network has. Read again when it changes.
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Print what would be made, changed and removed, step by step, and touch nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// A configuration file: netdp.toml, or a daemon.json of Docker [default: /etc/netdp/netdp.toml, if it is there].
    #[arg(short, long, env = "NETDP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp resolver`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp resolver                            take the place of the one that serves\n  \
    netdp resolver --resolv-conf /run/systemd/resolve/resolv.conf")]
pub struct Resolver {
    /// Where the host's name servers stand.
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// A name server that is asked instead.
    #[arg(long, value_name = "IP")]
    pub dns: Vec<IpAddr>,
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

impl Command {
    /// The command's own choice of format.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Up(args) => args.format.output,
            Self::Check(args) => args.format.output,
            Self::Trace(args) => args.format.output,
            Self::Status(args)
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
            | Self::Resolver(_)
            | Self::Detach(_)
            | Self::Run(_)
            | Self::Exec(_)
            | Self::Stop(_)
            | Self::Rm(_)
            | Self::Wait(_)
            | Self::Logs(_)
            | Self::Init(_)
            | Self::Network(
                Network::Rm(_) | Network::Prune(_) | Network::Connect(_) | Network::Disconnect(_),
            )
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("netdp").chain(line.split_whitespace()))
    }

    /// Each command that does something, with its name as typed.
    fn leaves(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
        let shown = command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help");
        let below: Vec<_> = shown.flat_map(|it| leaves(it, &format!("{path} {}", it.get_name()))).collect();
        if below.is_empty() { vec![(path.to_owned(), command.clone())] } else { below }
    }

    #[test]
    fn every_command_teaches_by_an_example() {
        let all = leaves(&Cli::command(), "netdp");
        assert!(all.len() > 30, "{}", all.len());
        for (path, command) in all {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example") && help.contains(&path), "{path}: {help}");
        }
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
