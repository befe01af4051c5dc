//! dnsmasq as the DHCP server of a LAN.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::namespace::Namespace;
use crate::process::{Service, eventually};

/// Starts one on an interface; another one that is given the same file knows the same leases. Without a range among its options
/// it has none to give.
pub fn serve((ns, interface): (&Namespace, &str), leases: &Path, options: &[&str]) -> Service {
    let mut command = ns.command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--port=0",
        "--bind-interfaces",
        "--log-dhcp",
        "--log-facility=-",
        "--dhcp-authoritative",
        "--no-ping",
    ]);
    command.arg(format!("--interface={interface}"));
    command.arg(format!("--dhcp-leasefile={}", leases.display()));
    let server = Service::start(command.args(options));
    let listens = || ns.sh("ss -Hlnu sport = :67").ok().stdout.contains(":67");
    eventually("dnsmasq listens", Duration::from_secs(5), listens);
    server
}

/// Addresses that it has lent, by the name of the client.
pub fn lent(leases: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(leases).unwrap_or_default();
    let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.map(|words| (words[3].to_owned(), words[2].to_owned())).collect()
}
