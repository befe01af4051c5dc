//! The name servers of the host, from its `/etc/resolv.conf`, as they are now.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How many servers a host has at most, as the C library has it.
const MOST: usize = 3;

/// Follows the file, which a VPN or DHCP may replace at any time.
#[derive(Debug)]
pub struct ResolvConf {
    path: PathBuf,
    instead: Vec<IpAddr>,
    read: Mutex<Option<(Stamp, Vec<IpAddr>)>>,
}

/// What is another when the file is.
type Stamp = (Option<SystemTime>, u64, u64);

impl ResolvConf {
    /// Of the file at a path, unless there are servers that are to be asked instead.
    pub fn new(path: &Path, instead: &[IpAddr]) -> Self {
        Self { path: path.to_owned(), instead: instead.to_owned(), read: Mutex::default() }
    }

    /// The servers now; none without a file.
    pub fn servers(&self) -> Vec<IpAddr> {
        if !self.instead.is_empty() {
            return self.instead.clone();
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp();
        match &*read {
            Some((known, servers)) if *known == stamp => servers.clone(),
            _ => {
                let servers = parse(&fs::read_to_string(&self.path).unwrap_or_default());
                *read = Some((stamp, servers.clone()));
                servers
            }
        }
    }

    fn stamp(&self) -> Stamp {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(&self.path)
            .map_or((None, 0, 0), |metadata| (metadata.modified().ok(), metadata.ino(), metadata.len()))
    }
}

/// The lines that say `nameserver` (resolv.conf(5)).
fn parse(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        // A zone behind a link-local address is no part of what the standard library reads.
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_servers_are_read_and_nothing_else() {
        let text = "# nameserver 192.0.2.9\nsearch a.b\nnameserver 127.0.0.53\nnameserver\t2001:db8::1 # x\n\
                    nameserver nonsense\n nameserver 192.0.2.2\nnameserver 192.0.2.3\noptions edns0\n";
        let expected: Vec<IpAddr> =
            ["127.0.0.53", "2001:db8::1", "192.0.2.2"].map(|it| it.parse().unwrap()).into();
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn the_file_is_read_again_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let conf = ResolvConf::new(&path, &[]);
        assert!(conf.servers().is_empty());
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(conf.servers(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        fs::write(&path, "nameserver 192.0.2.200\n").unwrap();
        assert_eq!(conf.servers(), ["192.0.2.200".parse::<IpAddr>().unwrap()]);
    }
}
