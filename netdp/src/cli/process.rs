//! `netdp run` and the other commands about processes that netdp starts itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::argument::{AddHost, LinkArg, expose, hostname};
use crate::model::Mac;
use crate::names::Name;
use crate::publish::PortSpec;

/// `netdp run`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp run -d --name web -p 8080:80 -- python3 -m http.server 80\n  \
    netdp run --rm -- ip address                                  a look at a network of its own\n  \
    netdp run --rm --network blue -- curl http://web/             another one, by name\n  \
    netdp run -d --name db --network name=blue,ip=10.5.0.9 --network red -- postgres\n  \
    netdp run --rm --network container:web -- ss -lnt             in the network of another one\n  \
    netdp run --rm --link db:database -- env\n\n\
    The process gets a network, a hostname and mounts of its own, with its own /etc/hosts, /etc/hostname and\n\
    /etc/resolv.conf. Its files, users and other processes are the host's. When it ends, so does whatever else is left in\n\
    its mount namespace, and its addresses and ports are free.\n\n\
    Forms of -p: see netdp attach --help. With --network host nothing is published: the process is on the host already.\n\n\
    Exit code: that of the command, 128 and the signal that ended it, 127 for a command that is not found, 126 for one\n\
    that cannot be executed. 1, 2 and 3 are also netdp's own, with a line that begins with `error:`.")]
pub struct Run {
    /// The name, for netdp and for networks [default: the beginning of the id].
    #[arg(long)]
    pub name: Option<Name>,
    /// A network to join, host, none, container:NAME, or name=NET,ip=IP,ip6=IP,alias=NAME,mac-address=MAC,gw-priority=N;
    /// may be repeated [default: bridge].
    #[arg(long = "network", visible_alias = "net", value_name = "NET")]
    pub networks: Vec<NetworkArg>,
    /// A port to publish; may be repeated.
    #[arg(short, long = "publish", value_name = "SPEC")]
    pub publish: Vec<PortSpec>,
    /// A port that -P publishes and that links tell of: 80, 80/udp or 80-82.
    #[arg(long = "expose", value_name = "PORT", value_parser = expose)]
    pub expose: Vec<PortSpec>,
    /// Publish every exposed port on a free port of the host.
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// The IPv4 address in the first network [default: the lowest free one].
    #[arg(long, value_name = "IP")]
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address in the first network [default: the lowest free one].
    #[arg(long, value_name = "IP")]
    pub ip6: Option<Ipv6Addr>,
    /// The MAC in the first network [default: 02:42 and the address].
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<Mac>,
    /// Another name in the first network; may be repeated.
    #[arg(long = "network-alias", value_name = "NAME")]
    pub aliases: Vec<Name>,
    /// Know another one by a name, and on the default network have its ports in the environment; may be repeated.
    #[arg(long = "link", value_name = "NAME[:ALIAS]")]
    pub links: Vec<LinkArg>,
    /// A server for names that no network knows; may be repeated.
    #[arg(long, value_name = "IP")]
    pub dns: Vec<IpAddr>,
    /// A domain in which names are looked for; `.` for none; may be repeated.
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// An option of resolv.conf, such as timeout:2; may be repeated.
    #[arg(long = "dns-opt", visible_alias = "dns-option", value_name = "OPTION")]
    pub dns_options: Vec<String>,
    /// A line of its /etc/hosts; host-gateway is this host; may be repeated.
    #[arg(long = "add-host", value_name = "NAME:IP|host-gateway")]
    pub add_hosts: Vec<AddHost>,
    /// What it calls its host [default: the beginning of the id].
    #[arg(long, value_name = "NAME", value_parser = hostname)]
    pub hostname: Option<String>,
    /// A variable for its environment; without a value that of netdp's own; may be repeated.
    #[arg(short, long = "env", value_name = "NAME[=VALUE]", value_parser = variable)]
    pub env: Vec<(String, Option<String>)>,
    /// The directory that it begins in [default: this one].
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// The user that it runs as, by name or number.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Run in the background, with a log (netdp logs), and print the id.
    #[arg(short, long)]
    pub detach: bool,
    /// Forget it when it ends.
    #[arg(long)]
    pub rm: bool,
    /// The command with its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `netdp exec`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp exec web -- ss -lnt\n  \
    netdp exec -e MODE=test -w /srv web -- ./check\n\n\
    In an endpoint that was attached and not run, the command has its network and all else of the host.\n\
    Exit code: that of the command; 127 when it is not found, 126 when it cannot be executed.")]
pub struct Exec {
    /// A variable for its environment; without a value that of netdp's own; may be repeated.
    #[arg(short, long = "env", value_name = "NAME[=VALUE]", value_parser = variable)]
    pub env: Vec<(String, Option<String>)>,
    /// The directory that it begins in [default: that of the process].
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// The user that it runs as [default: that of the process].
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Name, id or beginning of an id.
    pub name: String,
    /// The command with its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `netdp stop`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  netdp stop web\n  netdp stop -t 2 web db\n  netdp stop --signal INT web"
)]
pub struct Stop {
    /// Seconds until it is killed.
    #[arg(short, long = "time", value_name = "SECONDS", default_value_t = 10)]
    pub time: u32,
    /// The signal that asks it to end.
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal)]
    pub signal: nix::sys::signal::Signal,
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `netdp rm`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  netdp rm web\n  netdp rm -f web db        also if they run")]
pub struct Rm {
    /// Kill it first when it runs.
    #[arg(short, long)]
    pub force: bool,
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `netdp logs`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  netdp logs web\n  netdp logs -f --tail 20 web\n\n\
    A log longer than 10 MiB is begun anew, and one older part is kept.")]
pub struct Logs {
    /// Go on until the process ends.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines.
    #[arg(short = 'n', long, value_name = "N")]
    pub tail: Option<usize>,
    /// Name, id or beginning of an id.
    pub name: String,
}

/// `netdp wait`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  netdp wait job        prints its exit code when it ends")]
pub struct Wait {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `netdp init`
#[derive(Args, Debug)]
pub struct Init {
    /// The socket to whoever started it.
    #[arg(long)]
    pub channel: i32,
}

/// One `--network`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NetworkArg {
    /// The network, or a mode.
    pub name: String,
    /// `ip=`
    pub ip: Option<Ipv4Addr>,
    /// `ip6=`
    pub ip6: Option<Ipv6Addr>,
    /// `mac-address=`
    pub mac_address: Option<Mac>,
    /// `alias=`, as often as it is given.
    pub aliases: Vec<Name>,
    /// `gw-priority=`
    pub gw_priority: Option<i32>,
}

impl FromStr for NetworkArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut arg = Self::default();
        if text.contains('=') {
            for pair in text.split(',') {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                arg.set(key, value)?;
            }
        } else {
            text.clone_into(&mut arg.name);
        }
        if arg.name.is_empty() { Err("name=NET is missing".to_owned()) } else { Ok(arg) }
    }
}

impl NetworkArg {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "name" => value.clone_into(&mut self.name),
            "ip" => self.ip = Some(parsed(key, value)?),
            "ip6" => self.ip6 = Some(parsed(key, value)?),
            "mac-address" => self.mac_address = Some(parsed(key, value)?),
            "alias" => self.aliases.push(parsed(key, value)?),
            "gw-priority" => self.gw_priority = Some(parsed(key, value)?),
            _ => {
                return Err(format!(
                    "unknown key {key:?}: name, ip, ip6, alias, mac-address and gw-priority are known"
                ));
            }
        }
        Ok(())
    }
}

fn parsed<T: FromStr<Err: ToString>>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error: T::Err| format!("{key}={value}: {}", error.to_string()))
}

fn variable(text: &str) -> Result<(String, Option<String>), String> {
    if text.is_empty() || text.starts_with('=') {
        return Err("write it as NAME or NAME=VALUE".to_owned());
    }
    Ok(match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    })
}

fn signal(text: &str) -> Result<nix::sys::signal::Signal, String> {
    use nix::sys::signal::Signal;
    if let Ok(number) = text.parse::<i32>() {
        return Signal::try_from(number).map_err(|_| format!("there is no signal {number}"));
    }
    let name = text.to_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse().map_err(|_| format!("there is no signal {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_a_short_and_a_long_form() {
        assert_eq!("blue".parse(), Ok(NetworkArg { name: "blue".to_owned(), ..NetworkArg::default() }));
        let arg: NetworkArg = "name=blue,ip=10.5.0.9,alias=a,alias=b,gw-priority=-3".parse().unwrap();
        assert_eq!((arg.name.as_str(), arg.ip, arg.aliases.len()), ("blue", "10.5.0.9".parse().ok(), 2));
        assert_eq!(arg.gw_priority, Some(-3));
        for bad in ["", "ip=10.0.0.1", "name=x,ip=y", "name=x,colour=red"] {
            assert!(bad.parse::<NetworkArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "sigterm", "15"] {
            assert_eq!(signal(text), Ok(nix::sys::signal::Signal::SIGTERM), "{text}");
        }
        assert!(signal("FOO").is_err() && signal("999").is_err());
    }
}
