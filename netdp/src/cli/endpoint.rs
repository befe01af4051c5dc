//! `netdp attach` and the other commands about endpoints.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::FormatArg;
use super::argument::{AddHost, LinkArg, expose, hostname, label};
use super::connect::InterfaceArgs;
use crate::model::Protocol;
use crate::names::Name;
use crate::publish::PortSpec;

/// `netdp attach`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp attach --netns /run/netns/web --name web -p 8080:80\n  \
    netdp attach --pid 4711 --name db --network blue --ip 10.5.0.9\n  \
    netdp attach --netns /run/netns/web --name web --network blue    a second interface\n  \
    netdp attach --netns /run/netns/app --name app --link web:www --add-host me:host-gateway\n\n\
    Files of the endpoint are its runtime's own: its names (--link, --add-host, --dns) are the resolver's, on the gateway\n\
    of each bridge network.\n\n\
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
    /// What the interface is to have.
    #[command(flatten)]
    pub interface: InterfaceArgs,
    /// Another name in the network, which must not be the default one; may be repeated.
    #[arg(long = "network-alias", value_name = "NAME")]
    pub aliases: Vec<Name>,
    /// A port to publish, in one of the forms below; may be repeated.
    #[arg(short, long = "publish", value_name = "SPEC")]
    pub publish: Vec<PortSpec>,
    /// A port that -P publishes: 80, 80/udp or 80-82.
    #[arg(long = "expose", value_name = "PORT", value_parser = expose)]
    pub expose: Vec<PortSpec>,
    /// Publish every exposed port on a free port of the host.
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// What it calls its host; its networks know it by this name too.
    #[arg(long, value_name = "NAME", value_parser = hostname)]
    pub hostname: Option<String>,
    /// A server for names that no network knows; may be repeated.
    #[arg(long, value_name = "IP")]
    pub dns: Vec<IpAddr>,
    /// A domain in which names are looked for; `.` for none; may be repeated.
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// An option of resolv.conf, such as timeout:2; may be repeated.
    #[arg(long = "dns-opt", visible_alias = "dns-option", value_name = "OPTION")]
    pub dns_options: Vec<String>,
    /// A name that this endpoint alone knows; host-gateway is this host; may be repeated.
    #[arg(long = "add-host", value_name = "NAME:IP|host-gateway")]
    pub add_hosts: Vec<AddHost>,
    /// Know another endpoint of the network by a name; may be repeated.
    #[arg(long = "link", value_name = "NAME[:ALIAS]")]
    pub links: Vec<LinkArg>,
    /// A label; may be repeated.
    #[arg(long = "label", value_name = "KEY[=VALUE]", value_parser = label)]
    pub labels: Vec<(String, String)>,
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
#[command(
    after_help = "Examples:\n  netdp ps\n  netdp ps -a      also what has ended, and whose namespace is gone\n  netdp ps -q"
)]
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
#[command(after_help = "Examples:\n  netdp inspect web\n  netdp inspect web | jq .NetworkSettings.Networks")]
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

fn container_port(text: &str) -> Result<(u16, Protocol), String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse().map_err(|_| "write it as PORT or PORT/PROTOCOL".to_owned())?;
    Ok((port, protocol.parse()?))
}
