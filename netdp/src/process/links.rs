//! `--link` on the default network, as Docker had it: lines of `/etc/hosts` and environment variables, one way.
//!
//! On a network that the operator made a link is a name that the network's resolver knows, for this endpoint alone.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Attachment, Endpoint, Network, Protocol};

/// Somebody that a link leads to.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Linked {
    /// Its name.
    pub target: String,
    /// The name that the link gives it.
    pub alias: String,
    /// The name that it calls itself.
    pub hostname: String,
    /// Its addresses on the default network.
    pub addresses: Vec<IpAddr>,
    /// The ports that it offers.
    pub ports: Vec<(u16, Protocol)>,
    /// What it was given with `-e`.
    pub environment: Vec<(String, String)>,
}

impl Linked {
    /// One that is attached to this network; none when it is not.
    pub fn on(network: &Network, target: &Endpoint, alias: &str, hostname: &str) -> Option<Self> {
        let attachment = target.attachments.iter().find(|it| it.network == network.number)?;
        Some(Self {
            target: target.name.to_string(),
            alias: alias.to_owned(),
            hostname: hostname.to_owned(),
            addresses: attachment.addresses().collect(),
            ports: offered(target, attachment),
            environment: Vec::new(),
        })
    }

    /// The names that stand behind its address, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names = vec![self.alias.as_str()];
        for name in [self.hostname.as_str(), self.target.as_str()] {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The variables that tell the process `owner` of it.
    pub fn variables(&self, owner: &str) -> Vec<(String, String)> {
        let alias = self.alias.replace('-', "_").to_uppercase();
        let mut variables = vec![(format!("{alias}_NAME"), format!("/{owner}/{}", self.alias))];
        let Some(address) = self.addresses.first() else { return variables };
        if let Some((port, protocol)) = self.first_port() {
            variables.push((format!("{alias}_PORT"), url(*address, port, protocol)));
        }
        for (port, protocol) in &self.ports {
            let word = protocol.to_string();
            let name = format!("{alias}_PORT_{port}_{}", word.to_uppercase());
            variables.push((name.clone(), url(*address, *port, *protocol)));
            variables.push((format!("{name}_ADDR"), address.to_string()));
            variables.push((format!("{name}_PORT"), port.to_string()));
            variables.push((format!("{name}_PROTO"), word));
        }
        let inherited = self.environment.iter().filter(|(key, _)| !matches!(key.as_str(), "HOME" | "PATH"));
        variables.extend(inherited.map(|(key, value)| (format!("{alias}_ENV_{key}"), value.clone())));
        variables
    }

    /// The lowest TCP port, else the lowest of any protocol.
    fn first_port(&self) -> Option<(u16, Protocol)> {
        let mut tcp = self.ports.iter().filter(|(_, protocol)| *protocol == Protocol::Tcp);
        tcp.next().or_else(|| self.ports.first()).copied()
    }
}

fn url(address: IpAddr, port: u16, protocol: Protocol) -> String {
    match address {
        IpAddr::V4(address) => format!("{protocol}://{address}:{port}"),
        IpAddr::V6(address) => format!("{protocol}://[{address}]:{port}"),
    }
}

/// What it exposes and what it publishes, each once, the lowest first.
fn offered(target: &Endpoint, attachment: &Attachment) -> Vec<(u16, Protocol)> {
    let published = attachment.ports.iter().map(|port| (port.container_port, port.protocol));
    let mut ports: Vec<_> = target.options.exposed.iter().copied().chain(published).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_tells_of_ports_and_environment_as_docker_did() {
        let linked = Linked {
            target: "db".to_owned(),
            alias: "my-db".to_owned(),
            addresses: vec!["172.17.0.2".parse().unwrap()],
            ports: vec![(53, Protocol::Udp), (5432, Protocol::Tcp)],
            environment: vec![("MODE".to_owned(), "x".to_owned()), ("PATH".to_owned(), "/".to_owned())],
            ..Linked::default()
        };
        let lines: Vec<String> =
            linked.variables("app").into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            lines,
            [
                "MY_DB_NAME=/app/my-db",
                "MY_DB_PORT=tcp://172.17.0.2:5432",
                "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
                "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_PORT_5432_TCP=tcp://172.17.0.2:5432",
                "MY_DB_PORT_5432_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_ENV_MODE=x",
            ]
        );
    }
}
