//! Whether a command asks for what is there already, so that it is done when it is given again, and told what is otherwise
//! when it is another one. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::join::Request;
use crate::model::{Attachment, AttachmentOptions, EndpointOptions};

/// What an interface has otherwise than asked for, in words. What was not asked for was chosen, and so is right.
pub(super) fn interface(request: &Request, present: &Attachment) -> Option<String> {
    // What a server is about to lend is not known.
    let ip = request.ip.filter(|_| present.addr4 != Some(Ipv4Addr::UNSPECIFIED));
    let asked = [ip.map(IpAddr::V4), request.ip6.map(IpAddr::V6)];
    if asked.into_iter().flatten().any(|asked| present.addresses().all(|address| address != asked)) {
        return Some(format!("the address {}", text(present.addresses(), " and ")));
    }
    if request.mac_address.is_some_and(|mac| mac != present.mac) {
        return Some(format!("the MAC {}", present.mac));
    }
    let other = request.ifname.as_ref().is_some_and(|ifname| *ifname != present.ifname);
    other.then(|| format!("the interface {}", present.ifname))
}

/// The same of its options: one that is left out is no wish for the old one, but for none.
pub(super) fn interface_options(asked: &AttachmentOptions, is: &AttachmentOptions) -> Option<String> {
    let AttachmentOptions { aliases, links, gw_priority, sysctls } = is;
    if !same_set(&asked.aliases, aliases) {
        return Some(format!("these aliases: {}", text(aliases, ", ")));
    }
    if !same_set(&asked.links, links) {
        let links = links.iter().map(|(alias, other)| format!("{other}:{alias}"));
        return Some(format!("these links: {}", text(links, ", ")));
    }
    if asked.gw_priority != *gw_priority {
        return Some(format!("the gw-priority {gw_priority}"));
    }
    if !same_set(&asked.sysctls, sysctls) {
        let sysctls = sysctls.iter().map(|(path, value)| format!("{}={value}", path.replace('/', ".")));
        return Some(format!("these sysctls: {}", text(sysctls, ", ")));
    }
    None
}

/// The same of an endpoint. A command that is about one of its interfaces need not say anything of it.
pub(super) fn endpoint(asked: &EndpointOptions, is: &EndpointOptions) -> Option<String> {
    let EndpointOptions { hostname, exposed, labels, resolver, extra_hosts } = asked;
    if hostname.is_some() && *hostname != is.hostname {
        return Some(format!("the hostname {}", text(&is.hostname, "")));
    }
    if !exposed.is_empty() && !same_set(exposed, &is.exposed) {
        let exposed = is.exposed.iter().map(|(port, protocol)| format!("{port}/{protocol}"));
        return Some(format!("these exposed ports: {}", text(exposed, ", ")));
    }
    if !labels.is_empty() && *labels != is.labels {
        let labels = is.labels.iter().map(|(key, value)| format!("{key}={value}"));
        return Some(format!("these labels: {}", text(labels, ", ")));
    }
    let there = &is.resolver;
    if !resolver.servers.is_empty() && resolver.servers != there.servers {
        return Some(format!("these DNS servers: {}", text(&there.servers, ", ")));
    }
    if !resolver.search.is_empty() && resolver.search != there.search {
        return Some(format!("these DNS search domains: {}", text(&there.search, ", ")));
    }
    if !resolver.options.is_empty() && resolver.options != there.options {
        return Some(format!("these DNS options: {}", text(&there.options, ", ")));
    }
    if !extra_hosts.is_empty() && *extra_hosts != is.extra_hosts {
        let hosts = is.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}"));
        return Some(format!("these hosts: {}", text(hosts, ", ")));
    }
    None
}

/// Order and repetition say nothing.
pub(super) fn same_set<T: Ord>(one: &[T], other: &[T]) -> bool {
    one.iter().collect::<BTreeSet<_>>() == other.iter().collect()
}

fn text(items: impl IntoIterator<Item = impl fmt::Display>, between: &str) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(between) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocol, Resolver};

    #[test]
    fn an_option_of_an_interface_that_is_left_out_or_added_is_otherwise() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let is = AttachmentOptions { aliases: words(&["a", "b"]), gw_priority: 2, ..Default::default() };
        let again = AttachmentOptions { aliases: words(&["b", "a", "a"]), ..is.clone() };
        assert_eq!(interface_options(&again, &is), None);
        let fewer = AttachmentOptions { aliases: words(&["a"]), ..is.clone() };
        assert_eq!(interface_options(&fewer, &is).unwrap(), "these aliases: a, b");
        assert_eq!(interface_options(&is, &AttachmentOptions::default()).unwrap(), "these aliases: none");
        let lower = AttachmentOptions { gw_priority: 0, ..is.clone() };
        assert_eq!(interface_options(&lower, &is).unwrap(), "the gw-priority 2");
        let setting = ("net/ipv4/conf/IFNAME/log_martians".to_owned(), "1".to_owned());
        let set = AttachmentOptions { sysctls: vec![setting], ..is.clone() };
        let said = interface_options(&is, &set).unwrap();
        assert_eq!(said, "these sysctls: net.ipv4.conf.IFNAME.log_martians=1");
        let linked = AttachmentOptions { links: vec![("d".to_owned(), "db".to_owned())], ..is.clone() };
        assert_eq!(interface_options(&is, &linked).unwrap(), "these links: db:d");
    }

    #[test]
    fn what_is_said_of_an_endpoint_is_as_it_is_and_nothing_need_be_said() {
        let is = EndpointOptions {
            hostname: Some("web".to_owned()),
            exposed: vec![(80, Protocol::Tcp)],
            labels: [("tier".to_owned(), "front".to_owned())].into(),
            resolver: Resolver { servers: vec!["192.0.2.1".parse().unwrap()], ..Resolver::default() },
            extra_hosts: vec![("db".to_owned(), "192.0.2.2".parse().unwrap())],
        };
        assert_eq!(endpoint(&is, &is), None);
        assert_eq!(endpoint(&EndpointOptions::default(), &is), None);
        let nothing = EndpointOptions::default();
        assert_eq!(endpoint(&is, &nothing).unwrap(), "the hostname none");
        let with = |change: fn(&mut EndpointOptions)| {
            let mut asked = EndpointOptions::default();
            change(&mut asked);
            endpoint(&asked, &is).unwrap()
        };
        assert_eq!(with(|it| it.exposed = vec![(80, Protocol::Udp)]), "these exposed ports: 80/tcp");
        assert_eq!(with(|it| it.labels = [("a".into(), "b".into())].into()), "these labels: tier=front");
        assert_eq!(
            with(|it| it.resolver.servers = vec![IpAddr::from([192, 0, 2, 9])]),
            "these DNS servers: 192.0.2.1"
        );
        assert_eq!(with(|it| it.resolver.search = vec!["lan".into()]), "these DNS search domains: none");
        assert_eq!(with(|it| it.resolver.options = vec!["ndots:1".into()]), "these DNS options: none");
        let host = |it: &mut EndpointOptions| it.extra_hosts = vec![("x".into(), IpAddr::from([1, 1, 1, 1]))];
        assert_eq!(with(host), "these hosts: db:192.0.2.2");
    }
}
