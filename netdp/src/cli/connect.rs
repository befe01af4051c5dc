//! `netdp network connect` and `netdp network disconnect`: endpoints that run join networks and leave them.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::Args;

use super::argument::{LinkArg, ifname};
use crate::endpoint_sysctl::EndpointSysctl;
use crate::model::Mac;
use crate::names::Name;

/// `netdp network connect`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp network connect blue web\n  \
    netdp network connect --ip 10.5.0.9 --alias db blue web\n  \
    netdp network connect --gw-priority 1 blue web            its way out is by blue from now on\n  \
    netdp network connect --driver-opt sysctls=net.ipv4.conf.IFNAME.log_martians=1 blue web\n\n\
    Of several networks the one of the highest gw-priority has the default route, among equals the first by name; an\n\
    internal network never has it. What is sent from an address always leaves by the interface of that address.")]
pub struct NetworkConnect {
    /// What the interface is to have.
    #[command(flatten)]
    pub interface: InterfaceArgs,
    /// Another name in the network; may be repeated.
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<Name>,
    /// Know another endpoint by a name; may be repeated.
    #[arg(long = "link", value_name = "NAME[:ALIAS]")]
    pub links: Vec<LinkArg>,
    /// The network.
    pub network: String,
    /// Name, id or beginning of an id of the endpoint.
    pub endpoint: String,
}

/// What an interface can be asked for, whoever makes it.
#[derive(Args, Debug)]
pub struct InterfaceArgs {
    /// The IPv4 address to take [default: the lowest free one].
    #[arg(long, value_name = "IP")]
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address to take, in a network with IPv6 [default: the lowest free one].
    #[arg(long, value_name = "IP")]
    pub ip6: Option<Ipv6Addr>,
    /// The MAC of the interface inside [default: 02:42 and the address].
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<Mac>,
    /// Name of the interface inside [default: the first free of eth0, eth1, ...].
    #[arg(long, value_name = "NAME", value_parser = ifname)]
    pub ifname: Option<String>,
    /// The interface of the highest priority has the default route.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub gw_priority: i32,
    /// A setting of the interface, with IFNAME for its name: `net.ipv4.conf.IFNAME.log_martians=1`; may be repeated.
    #[arg(long = "sysctl", value_name = "KEY=VALUE")]
    pub sysctls: Vec<EndpointSysctl>,
    /// An option as Docker has it: ifname=NAME or sysctls=KEY=VALUE,..., or their com.docker.network.endpoint names.
    #[arg(long = "driver-opt", value_name = "KEY=VALUE", value_parser = driver_option)]
    pub driver_options: Vec<DriverOption>,
}

impl InterfaceArgs {
    /// The name of the interface, whichever way it was given; the driver's option wins, being what Docker has.
    pub fn asked_ifname(&self) -> Option<String> {
        let by_driver = self.driver_options.iter().rev().find_map(|option| match option {
            DriverOption::Ifname(name) => Some(name.clone()),
            DriverOption::Sysctls(_) => None,
        });
        by_driver.or_else(|| self.ifname.clone())
    }

    /// The settings of the interface, whichever way they were given.
    pub fn asked_sysctls(&self) -> Vec<(String, String)> {
        let by_driver = self.driver_options.iter().flat_map(|option| match option {
            DriverOption::Sysctls(sysctls) => sysctls.as_slice(),
            DriverOption::Ifname(_) => &[],
        });
        self.sysctls.iter().chain(by_driver).map(EndpointSysctl::pair).collect()
    }
}

/// One `--driver-opt`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DriverOption {
    /// Name of the interface.
    Ifname(String),
    /// Settings of the interface.
    Sysctls(Vec<EndpointSysctl>),
}

/// `netdp network disconnect`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp network disconnect blue web\n  \
    netdp network disconnect -f blue web                      also when its network namespace is gone\n\n\
    The endpoint stays, also without any network; netdp detach takes it away.")]
pub struct NetworkDisconnect {
    /// Also when its network namespace is gone, and whatever cannot be undone.
    #[arg(short, long)]
    pub force: bool,
    /// The network.
    pub network: String,
    /// Name, id or beginning of an id of the endpoint.
    pub endpoint: String,
}

fn driver_option(text: &str) -> Result<DriverOption, String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    match key.strip_prefix("com.docker.network.endpoint.").unwrap_or(key) {
        "ifname" => ifname(value).map(DriverOption::Ifname),
        "sysctls" => value.split(',').map(str::parse).collect::<Result<_, _>>().map(DriverOption::Sysctls),
        _ => Err(format!(
            "unknown option {key:?}: known are ifname and sysctls, or com.docker.network.endpoint.ifname \
                          and com.docker.network.endpoint.sysctls"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_names_and_the_short_ones_are_one() {
        for prefix in ["", "com.docker.network.endpoint."] {
            let ifname = driver_option(&format!("{prefix}ifname=lan0"));
            assert_eq!(ifname, Ok(DriverOption::Ifname("lan0".to_owned())));
            let text =
                format!("{prefix}sysctls=net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.mtu=1400");
            let Ok(DriverOption::Sysctls(sysctls)) = driver_option(&text) else { panic!("{text}") };
            assert_eq!(sysctls.len(), 2);
        }
        for bad in ["ifname", "ifname=", "ifname=a/b", "colour=red", "sysctls=net.ipv4.ip_forward=1"] {
            assert!(driver_option(bad).is_err(), "{bad}");
        }
    }
}
