//! The `/etc/resolv.conf` of a process.

use std::net::IpAddr;

use crate::model::Resolver;

/// The C library asks no more than three servers.
const SERVERS: usize = 3;

/// The file of a process on bridge networks: the resolver of each network is on its gateway address, IPv4 first. Which servers
/// those ask for other names is the resolver's own affair (`--dns`).
pub fn of_networks(gateways: &[IpAddr], asked: &Resolver, host: &str) -> String {
    let mut sorted = gateways.to_vec();
    sorted.sort_by_key(IpAddr::is_ipv6);
    let mut options = asked.options.clone();
    if !options.iter().any(|option| option.starts_with("ndots")) {
        options.push("ndots:0".to_owned());
    }
    lines(&sorted, &search(asked, host), &options)
}

/// Where systemd-resolved names the servers that it asks itself, behind the stub that it gives the host.
pub const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// That of a process which has neither the host's network nor a resolver of ours, as on a LAN: as [`of_host`], without the
/// servers on the host's loopback, which it cannot reach. Where there are no others, those behind the stub.
pub fn beside_host(asked: &Resolver, host: &str, behind: impl FnOnce() -> String) -> String {
    let servers =
        |text: &str| words(text, "nameserver").filter_map(|word| word.parse().ok()).collect::<Vec<IpAddr>>();
    let all = servers(host);
    let mut reached: Vec<IpAddr> = all.iter().copied().filter(|server| !server.is_loopback()).collect();
    if !asked.servers.is_empty() || reached.len() == all.len() {
        return of_host(asked, host);
    }
    if reached.is_empty() {
        reached = servers(&behind()).into_iter().filter(|server| !server.is_loopback()).collect();
    }
    lines(&reached, &search(asked, host), &options(asked, host))
}

/// The host's file, for a process that is in no bridge network; with what the operator asked for in its place.
pub fn of_host(asked: &Resolver, host: &str) -> String {
    if *asked == Resolver::default() {
        return host.to_owned();
    }
    let parsed = words(host, "nameserver").filter_map(|word| word.parse().ok()).collect();
    let servers = if asked.servers.is_empty() { parsed } else { asked.servers.clone() };
    lines(&servers, &search(asked, host), &options(asked, host))
}

fn options(asked: &Resolver, host: &str) -> Vec<String> {
    if asked.options.is_empty() {
        return words(host, "options").map(str::to_owned).collect();
    }
    asked.options.clone()
}

/// `--dns-search .` says that nothing is searched.
fn search(asked: &Resolver, host: &str) -> Vec<String> {
    if asked.search.is_empty() {
        return words(host, "search").chain(words(host, "domain")).map(str::to_owned).collect();
    }
    asked.search.iter().filter(|domain| *domain != ".").cloned().collect()
}

fn words<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().flat_map(move |line| {
        let mut words = line.split_whitespace();
        let ours = words.next() == Some(key);
        words.filter(move |_| ours)
    })
}

fn lines(servers: &[IpAddr], search: &[String], options: &[String]) -> String {
    let servers = servers.iter().take(SERVERS).map(|server| format!("nameserver {server}"));
    let line =
        |key: &str, words: &[String]| (!words.is_empty()).then(|| format!("{key} {}", words.join(" ")));
    let lines = servers.chain(line("search", search)).chain(line("options", options));
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "nameserver 127.0.0.53\nsearch example.org\noptions edns0\n";

    #[test]
    fn networks_are_asked_at_their_gateways_ipv4_first() {
        let gateways: Vec<IpAddr> =
            ["fd00::1", "10.0.0.1"].into_iter().map(|text| text.parse().unwrap()).collect();
        let text = of_networks(&gateways, &Resolver::default(), HOST);
        assert_eq!(text, "nameserver 10.0.0.1\nnameserver fd00::1\nsearch example.org\noptions ndots:0\n");
    }

    #[test]
    fn servers_on_the_hosts_loopback_are_left_out_where_they_cannot_be_reached() {
        let none = Resolver::default();
        let behind = || "nameserver 192.0.2.53\nnameserver 127.0.0.1\n".to_owned();
        assert_eq!(
            beside_host(&none, HOST, behind),
            "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n"
        );
        let mixed = format!("{HOST}nameserver 192.0.2.1\n");
        let unread = || panic!("the host has others");
        assert_eq!(
            beside_host(&none, &mixed, unread),
            "nameserver 192.0.2.1\nsearch example.org\noptions edns0\n"
        );
        let unread = || panic!("there is nothing to leave out");
        assert_eq!(beside_host(&none, "nameserver 192.0.2.1 # x\n", unread), "nameserver 192.0.2.1 # x\n");
        let asked = Resolver { servers: vec!["127.0.0.1".parse().unwrap()], ..Resolver::default() };
        let unread = || panic!("they were asked for");
        assert!(beside_host(&asked, HOST, unread).starts_with("nameserver 127.0.0.1\n"));
    }

    #[test]
    fn what_was_asked_for_stands_in_place_of_the_hosts() {
        assert_eq!(of_host(&Resolver::default(), HOST), HOST);
        let asked = Resolver {
            servers: vec!["9.9.9.9".parse().unwrap()],
            search: vec![".".to_owned()],
            options: Vec::new(),
        };
        assert_eq!(of_host(&asked, HOST), "nameserver 9.9.9.9\noptions edns0\n");
    }
}
