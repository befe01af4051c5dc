//! The `/etc/hosts` of a process, in Docker's order: the loopback, what the operator asked for, links, its own addresses.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::Error;
use super::links::Linked;

/// What every host has.
const LOOPBACK: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// What stands in the file beyond the loopback.
#[derive(Debug, Default)]
pub struct Hosts<'a> {
    /// The name of the process's own host.
    pub hostname: &'a str,
    /// Its own addresses, network by network.
    pub own: Vec<IpAddr>,
    /// Names that the operator asked for.
    pub extra: &'a [(String, IpAddr)],
    /// Others by the names of links.
    pub links: &'a [Linked],
}

impl Hosts<'_> {
    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = LOOPBACK.to_owned();
        for (name, address) in self.extra {
            let _ = writeln!(text, "{address}\t{name}");
        }
        for link in self.links {
            for address in &link.addresses {
                let _ = writeln!(text, "{address}\t{}", link.names().join(" "));
            }
        }
        for address in self.own.iter().collect::<BTreeSet<_>>() {
            let _ = writeln!(text, "{address}\t{}", names(self.hostname));
        }
        text
    }
}

/// A host that has a domain is known without it too.
fn names(hostname: &str) -> String {
    match hostname.split_once('.') {
        Some((short, _)) => format!("{hostname} {short}"),
        None => hostname.to_owned(),
    }
}

/// The host's own file with the names that the operator asked for: for a process in the host's network.
pub fn of_host(text: &str, extra: &[(String, IpAddr)]) -> String {
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, address) in extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// In place: the file is mounted, and the mount is of this very file.
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = || Error::file("write", path);
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())?;
    file.set_len(text.len().try_into().unwrap_or(u64::MAX)).map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_dockers_order() {
        let extra = [("db".to_owned(), "10.0.0.9".parse().unwrap())];
        let links = vec![Linked {
            target: "web".to_owned(),
            alias: "www".to_owned(),
            hostname: "0123456789ab".to_owned(),
            addresses: vec!["172.17.0.3".parse().unwrap()],
            ..Linked::default()
        }];
        let own = vec!["fd00::2".parse().unwrap(), "172.17.0.2".parse().unwrap()];
        let text = Hosts { hostname: "h.example", own, extra: &extra, links: &links }.render();
        let tail: Vec<&str> = text.strip_prefix(LOOPBACK).unwrap().lines().collect();
        assert_eq!(
            tail,
            [
                "10.0.0.9\tdb",
                "172.17.0.3\twww 0123456789ab web",
                "172.17.0.2\th.example h",
                "fd00::2\th.example h"
            ]
        );
    }

    #[test]
    fn the_hosts_file_is_kept_and_goes_on_on_a_line_of_its_own() {
        let extra = [("db".to_owned(), "10.0.0.9".parse().unwrap())];
        assert_eq!(of_host("127.0.0.1 localhost", &extra), "127.0.0.1 localhost\n10.0.0.9\tdb\n");
    }
}
