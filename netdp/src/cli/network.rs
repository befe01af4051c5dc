//! `netdp network`: networks.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::argument::label;
use super::connect::{NetworkConnect, NetworkDisconnect};
use super::{Format, FormatArg, key_value};
use crate::names::Name;

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
    /// Join an endpoint that runs to one more network
    Connect(NetworkConnect),
    /// Take an endpoint off a network
    Disconnect(NetworkDisconnect),
}

/// `netdp network create`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp network create blue\n  \
    netdp network create --subnet 10.5.0.0/16 --gateway 10.5.0.254 green\n  \
    netdp network create --internal -o icc=false quiet\n  \
    netdp network create --ipv6 both                          IPv4 and IPv6, free subnets\n  \
    netdp network create --ipv6 --subnet fd00:5::/64 --ipv4=false six\n  \
    netdp network create -o gateway-mode=routed --subnet 198.51.100.0/24 public\n  \
    netdp network create --internal -o gateway-mode=isolated alone\n  \
    netdp network create -o trusted-interfaces=eth1:eth2 near  published ports at containers' own addresses too, by these\n  \
    netdp network create -d macvlan -o parent=eth1 --subnet 192.0.2.0/24 --gateway 192.0.2.1 lan\n  \
    netdp network create -o parent=eth1 --subnet 192.0.2.0/24 --gateway 192.0.2.1 lan\n  \
    netdp network create -o bridge-name=br0 lan               a bridge of yours with its ports\n  \
    netdp network create -o parent=eth1 --ipam-driver dhcp lan  addresses by the LAN's DHCP server, also with -d macvlan\n\n\
    Options of -o: masquerade, icc, mtu, bridge-name, parent, host-binding, snat-ip, masquerade-exclude, inhibit-ipv4, route, ifname-prefix, udp-mapping, udp-filtering,\n\
    gateway-mode (nat, nat-unprotected, routed, isolated; -ipv4 and -ipv6 for one family), trusted-interfaces,\n\
    or their com.docker.network names; of macvlan and ipvlan: parent, mode, mtu, route, ifname-prefix.\n\
    With masquerade=false nothing gets out, for no container's own address leaves by a nat network: where the LAN has a route to\n\
    the containers, gateway-mode=routed is what is meant.")]
pub struct NetworkCreate {
    /// What kind of network it is.
    #[arg(short, long, value_enum, default_value = "bridge")]
    pub driver: DriverArg,
    /// Who gives the endpoints their addresses.
    #[arg(long = "ipam-driver", value_enum, value_name = "DRIVER", default_value = "default")]
    pub ipam: IpamArg,
    /// The network's addresses, once per family; a free subnet is chosen without it.
    #[arg(long = "subnet", value_name = "CIDR")]
    pub subnets: Vec<IpNet>,
    /// The bridge's own address, or the router of a LAN; once per family [default: the first of the subnet].
    #[arg(long = "gateway", value_name = "IP")]
    pub gateways: Vec<IpAddr>,
    /// Choose endpoints' addresses from this part of the subnet; may be repeated.
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
    /// Endpoints on the LAN of an interface, with a MAC each.
    Macvlan,
    /// Endpoints on the LAN of an interface, all with its MAC.
    Ipvlan,
    /// The host's own namespace; made by `up` and there once.
    Host,
    /// No network; made by `up` and there once.
    None,
    /// Not supported in this version.
    Overlay,
}

/// Who gives addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum IpamArg {
    /// netdp itself: the lowest free one of the subnet.
    Default,
    /// A DHCP server of the LAN, of networks with -o parent.
    Dhcp,
}

/// `netdp network ls`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        netdp network ls\n  \
        netdp network ls -q -f driver=bridge\n  \
        netdp network ls -f type=custom -f label=team=web\n  \
        netdp network ls -f dangling=true                         those that nobody is attached to\n  \
        netdp network ls -o json")]
pub struct NetworkLs {
    /// Print ids only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Only networks with this driver=, id=, label=, name=, scope=, type=custom|builtin or dangling=true|false.
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = key_value)]
    pub filters: Vec<(String, String)>,
    /// How the result is printed.
    #[command(flatten)]
    pub format: FormatArg,
}

/// `netdp network inspect`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        netdp network inspect bridge\n  \
        netdp network inspect blue green | jq '.[].Status.IPAM'   addresses in use and free")]
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
#[command(after_help = "Examples:\n  \
        netdp network rm blue green\n  \
        netdp network rm -f blue                                  also when endpoints are attached")]
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
#[command(after_help = "Examples:\n  \
        netdp network prune -f\n  \
        netdp network prune -f --filter until=24h                 only those that are a day old\n  \
        netdp network prune -f --filter label=ci --filter label!=keep")]
pub struct NetworkPrune {
    /// Do not ask; nothing is ever asked when stdin is no terminal.
    #[arg(short, long)]
    pub force: bool,
    /// Only networks with this label=, without this label!=, or older than until=.
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = key_value)]
    pub filters: Vec<(String, String)>,
}
