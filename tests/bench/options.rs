//! The words of the command line. `xtask` reads this file too, so that a wrong word is told before anything is built.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What to measure, and where the results go.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Who moves the packets; all that this machine can have when none is named, those of netdp with or without something only with --full. The wires are always among them
    #[arg(long, value_enum, value_name = "ARM", num_args = 1.., value_delimiter = ',')]
    pub(crate) arms: Vec<ArmName>,
    /// Who talks to whom; all when none is named
    #[arg(long, value_enum, value_name = "SCENARIO", num_args = 1.., value_delimiter = ',')]
    pub(crate) scenarios: Vec<Scenario>,
    /// By which Internet protocol; both when none is named, IPv4 with --quick
    #[arg(long = "family", value_enum, value_name = "FAMILY", num_args = 1.., value_delimiter = ',')]
    pub(crate) families: Vec<Family>,
    /// What they say; all when none is named, three of them with --quick
    #[arg(long, value_enum, value_name = "KIND", num_args = 1.., value_delimiter = ',')]
    pub(crate) kinds: Vec<Kind>,
    /// How often each is measured: 5 times, 3 with --quick, 10 with --full
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: Option<u16>,
    /// The wires, nft, docker and netdp, three kinds and IPv4, briefly: an impression within about two minutes
    #[arg(long, conflicts_with = "full")]
    pub(crate) quick: bool,
    /// All arms, often enough for numbers that can be shown to others, within about half an hour. Some arms and kinds are not measured
    /// everywhere, as the table then says; what is named by --arms, --family or --kinds is measured in full
    #[arg(long)]
    pub(crate) full: bool,
    /// Instead of the arms, each program alone: what a packet of every class costs in it
    #[arg(long, conflicts_with_all = ["arms", "scenarios", "kinds", "rounds", "full"])]
    pub(crate) micro: bool,
    /// Instead: netdp alone, with more and more published ports, containers, flows and networks; results in scale.json
    #[arg(long, conflicts_with_all = ["arms", "scenarios", "kinds", "full"])]
    pub(crate) scale: bool,
    /// Where results.json and the pictures go [default: target/bench of the workspace]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// When all of it was measured, write the numbers into README.md
    #[arg(long)]
    pub(crate) update_readme: bool,
    /// Measure nothing: README.md gets the numbers of an earlier results.json, or of all results in a folder
    #[arg(long, value_name = "PATH", requires = "update_readme")]
    #[arg(conflicts_with_all = ["arms", "scenarios", "families", "kinds", "rounds", "quick", "full", "micro", "output"])]
    pub(crate) from: Option<PathBuf>,
}

/// Who moves the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum ArmName {
    /// The bare wire: two namespaces and a veth pair, nothing else, the same for every scenario
    Veth,
    /// The wire of the ways to and from the outside: the host itself talks over its uplink, without container, rule or program
    Uplink,
    /// The kernel forwards, and translates nothing
    Routed,
    /// A Linux bridge alone
    Bridge,
    /// A Linux bridge, and nftables rules that masquerade and publish as Docker's do
    Nft,
    /// The same, and a flowtable that takes established flows past the rules; the ways to and from the outside only
    NftFlowtable,
    /// A real dockerd with default settings
    Docker,
    /// The same with "userland-proxy": false
    DockerNoproxy,
    /// netdp
    Netdp,
    /// netdp without what lets a packet skip the host's end of a container's veth pair
    NetdpWithoutRedirectPeer,
    /// netdp without the routes that it keeps for a flow: the kernel is asked for every packet
    NetdpWithoutKeptRoutes,
    /// netdp with a network for packets of 65 535 bytes; container to container only
    NetdpLargeMtu,
}

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Scenario {
    /// Two containers of one network
    ContainerToContainer,
    /// A container to a neighbour of the host
    ContainerToOutside,
    /// A neighbour to a published port of the host
    OutsideToPublished,
    /// A process of the host to a published port on its loopback address
    HostToLoopback,
    /// A process of the host to a published port on the host's own address
    HostToOwnAddress,
    /// A container to another's published port on the host's address
    Hairpin,
}

/// By which Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Family {
    /// IPv4
    #[value(name = "4")]
    Four,
    /// IPv6
    #[value(name = "6")]
    Six,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Kind {
    /// One byte there and one back over one connection, both ends on one processor
    TcpRr,
    /// The same by datagrams
    UdpRr,
    /// Connect, one byte there and one back, close; both ends on one processor
    TcpCrr,
    /// As tcp-rr, both ends on whatever processor is free
    TcpRrFree,
    /// As tcp-crr, both ends on whatever processor is free
    TcpCrrFree,
    /// One stream of iperf3, the ends on two processors
    TcpStream,
    /// The same from the server to the client
    TcpStreamReverse,
    /// Four streams at once
    TcpStreamParallel,
    /// Small datagrams at a fixed rate: processor time for each; lower is better
    UdpRate,
    /// Requests of wrk to nginx over 16 connections that stay, 1 KiB each
    Http,
    /// Questions over TCP at a fixed rate: how long half of them wait at most; lower is better
    LatencyP50,
    /// The same measurement: 99 % of them
    LatencyP99,
    /// The same measurement: 99.9 % of them
    LatencyP999,
}
