//! `netdp network create`.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde_json::json;

use super::Context;
use super::up::commit;
use crate::Error;
use crate::cli::{DriverArg, NetworkCreate};
use crate::desired::Desired;
use crate::instance::{self, Session};
use crate::ipam::{self, Taken};
use crate::model::{Bridge, DEFAULT_MTU, Driver, Mac, Network, Pool};
use crate::names::{Id, random_bytes};
use crate::netlink::MAX_NAME;
use crate::output;

/// The smallest MTU that IPv4 allows (RFC 791), and the largest that a bridge takes.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65535;

pub(super) async fn create<W: Write>(
    context: &mut Context<'_, W>,
    args: &NetworkCreate,
) -> Result<(), Error> {
    refuse_unsupported(args)?;
    let request = request(args)?;
    let options = Options::read(&args.options)?;
    let mut session = Session::begin(&context.place).await?;
    let networks = session.store.networks()?;
    if networks.iter().any(|network| network.name == args.name) {
        return Err(Error::NameTaken { kind: "network", name: args.name.to_string() });
    }
    let mut taken: Vec<Taken> = taken_by(&networks).collect();
    taken.extend(session.kernel.taken().await?);
    let pool = ipam::choose(&request, &taken)?;
    let id = Id::random().map_err(Error::io("read random bytes"))?;
    let device = device(options.bridge_name.clone(), &id, &networks)?;
    let mtu = match options.mtu {
        Some(mtu) => mtu,
        None => session.kernel.uplinks().await?.first().map_or(DEFAULT_MTU, |uplink| uplink.mtu),
    };
    let mac = Mac::local(random_bytes().map_err(Error::io("read random bytes"))?);
    let driver = Driver::Bridge(options.bridge(device, mac, mtu, pool, args.internal));
    let network = network(args, id, driver);
    add(&mut session, network.clone()).await?;
    print(context, &network)
}

fn network(args: &NetworkCreate, id: Id, driver: Driver) -> Network {
    Network {
        number: 0,
        id,
        name: args.name.clone(),
        created: instance::now(),
        driver,
        options: args.options.iter().cloned().collect(),
        labels: args.labels.iter().cloned().collect(),
    }
}

/// Makes the network, or nothing. As long as netdp is not up, only the database knows of it.
async fn add(session: &mut Session, mut network: Network) -> Result<(), Error> {
    let change = session.store.begin()?;
    network.number = change.add_network(&network)?;
    if !session.kernel.is_up() {
        tracing::info!("netdp is not up: the network is made by the next netdp up");
        return Ok(change.commit()?);
    }
    let mut desired = Desired::default();
    desired.add_network(&network);
    session.mark(desired.bridges.keys().map(String::as_str))?;
    session.kernel.heed_signals()?;
    let applied = instance::bring_up(&mut session.kernel, &desired).await;
    let result = commit(change, applied, &mut session.kernel).await;
    session.unmark()?;
    result
}

fn print<W: Write>(context: &mut Context<'_, W>, network: &Network) -> Result<(), Error> {
    if context.is_json() {
        return Ok(output::document(context.out, &json!({ "Id": network.id, "Name": network.name }))?);
    }
    Ok(writeln!(context.out, "{}", network.id)?)
}

fn refuse_unsupported(args: &NetworkCreate) -> Result<(), Error> {
    let driver = match args.driver {
        DriverArg::Bridge => None,
        DriverArg::Host => return Err(Error::Premade("host".to_owned())),
        DriverArg::None => return Err(Error::Premade("none".to_owned())),
        DriverArg::Macvlan => Some("macvlan"),
        DriverArg::Ipvlan => Some("ipvlan"),
        DriverArg::Overlay => Some("overlay"),
    };
    let several = args.subnets.len() > 1 || args.gateways.len() > 1 || args.ip_ranges.len() > 1;
    let unsupported = |what: String| Err(Error::Unsupported(what));
    match driver {
        Some(driver) => unsupported(format!("the driver {driver}")),
        None if args.ipv6 => unsupported("--ipv6".to_owned()),
        None if !args.ipv4 => unsupported("--ipv4=false".to_owned()),
        None if several => unsupported("a network with more than one subnet".to_owned()),
        None => Ok(()),
    }
}

fn request(args: &NetworkCreate) -> Result<ipam::Request, Error> {
    let reserved: Result<BTreeMap<String, Ipv4Addr>, Error> =
        args.aux_addresses.iter().map(auxiliary).collect();
    Ok(ipam::Request {
        subnet: args.subnets.first().map(v4_net).transpose()?,
        gateway: args.gateways.first().map(v4).transpose()?,
        range: args.ip_ranges.first().map(v4_net).transpose()?,
        reserved: reserved?,
    })
}

fn auxiliary((name, address): &(String, String)) -> Result<(String, Ipv4Addr), Error> {
    match address.parse() {
        Ok(address) => Ok((name.clone(), address)),
        Err(_) => Err(invalid("--aux-address", address, "NAME=IP with an IPv4 address")),
    }
}

fn v4_net(net: &IpNet) -> Result<Ipv4Net, Error> {
    match net {
        IpNet::V4(net) => Ok(*net),
        IpNet::V6(net) => Err(Error::Unsupported(format!("the IPv6 network {net}"))),
    }
}

fn v4(address: &IpAddr) -> Result<Ipv4Addr, Error> {
    match address {
        IpAddr::V4(address) => Ok(*address),
        IpAddr::V6(address) => Err(Error::Unsupported(format!("the IPv6 address {address}"))),
    }
}

/// The subnets that networks have.
pub(super) fn taken_by(networks: &[Network]) -> impl Iterator<Item = Taken> {
    networks.iter().filter_map(|network| {
        let net = network.bridge()?.pool.subnet;
        Some(Taken { net, by: format!("network {}", network.name) })
    })
}

/// The bridge device: as asked for, else Docker's scheme.
fn device(asked: Option<String>, id: &Id, networks: &[Network]) -> Result<String, Error> {
    let device = asked.unwrap_or_else(|| format!("br-{}", id.short(12)));
    let holder =
        networks.iter().find(|network| network.bridge().is_some_and(|bridge| bridge.device == device));
    match holder {
        Some(network) => Err(Error::NameTaken {
            kind: "network",
            name: format!("{} with the bridge {device}", network.name),
        }),
        None => Ok(device),
    }
}

/// What `-o` can say.
#[derive(Debug, Eq, PartialEq)]
struct Options {
    masquerade: bool,
    icc: bool,
    mtu: Option<u32>,
    bridge_name: Option<String>,
    host_binding: Ipv4Addr,
}

/// The options by their short name and Docker's.
const KNOWN: [(&str, &str); 5] = [
    ("masquerade", "com.docker.network.bridge.enable_ip_masquerade"),
    ("icc", "com.docker.network.bridge.enable_icc"),
    ("mtu", "com.docker.network.driver.mtu"),
    ("bridge-name", "com.docker.network.bridge.name"),
    ("host-binding", "com.docker.network.bridge.host_binding_ipv4"),
];

impl Options {
    fn read(pairs: &[(String, String)]) -> Result<Self, Error> {
        let mut options = Self {
            masquerade: true,
            icc: true,
            mtu: None,
            bridge_name: None,
            host_binding: Ipv4Addr::UNSPECIFIED,
        };
        for (key, value) in pairs {
            options.set(key, value)?;
        }
        Ok(options)
    }

    fn bridge(&self, device: String, mac: Mac, mtu: u32, pool: Pool, internal: bool) -> Bridge {
        Bridge {
            device,
            mac,
            mtu,
            pool,
            internal,
            icc: self.icc,
            masquerade: self.masquerade,
            host_binding: self.host_binding,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let known = KNOWN.iter().find(|(short, long)| *short == key || *long == key);
        match known.map(|(short, _)| *short) {
            Some("masquerade") => self.masquerade = boolean(key, value)?,
            Some("icc") => self.icc = boolean(key, value)?,
            Some("mtu") => self.mtu = Some(mtu(key, value)?),
            Some("bridge-name") => self.bridge_name = Some(bridge_name(key, value)?),
            Some("host-binding") => {
                self.host_binding =
                    value.parse().map_err(|_| invalid(key, value, "an IPv4 address of the host"))?;
            }
            _ => return Err(unknown(key)),
        }
        Ok(())
    }
}

fn unknown(key: &str) -> Error {
    let known: Vec<String> = KNOWN.iter().map(|(short, long)| format!("{short} ({long})")).collect();
    Error::UnknownOption { key: key.to_owned(), known: known.join(", ") }
}

fn invalid(key: &str, value: &str, accepted: &'static str) -> Error {
    Error::InvalidValue { key: key.to_owned(), value: value.to_owned(), accepted }
}

/// What Go's `strconv.ParseBool` takes, as Docker does.
fn boolean(key: &str, value: &str) -> Result<bool, Error> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(key, value, "true or false")),
    }
}

fn mtu(key: &str, value: &str) -> Result<u32, Error> {
    let mtu = value.parse().ok().filter(|mtu| MTUS.contains(mtu));
    mtu.ok_or_else(|| invalid(key, value, "68 to 65535 bytes"))
}

fn bridge_name(key: &str, value: &str) -> Result<String, Error> {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let fits = (1..=MAX_NAME).contains(&value.len()) && !value.starts_with(['.', '-']);
    if plain && fits {
        return Ok(value.to_owned());
    }
    Err(invalid(key, value, "1 to 15 letters, digits, `_`, `.` or `-`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Options, Error> {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::read(&pairs)
    }

    #[test]
    fn short_names_and_dockers_mean_the_same() {
        for (short, long) in KNOWN {
            let value = match short {
                "mtu" => "1400",
                "bridge-name" => "br7",
                "host-binding" => "127.0.0.1",
                _ => "false",
            };
            let options = read(&[(short, value)]).unwrap();
            assert_eq!(options, read(&[(long, value)]).unwrap());
            assert_ne!(options, read(&[]).unwrap());
        }
    }

    #[test]
    fn an_unknown_option_lists_those_that_are_known() {
        let error = read(&[("colour", "red")]).unwrap_err().to_string();
        assert!(
            error.contains("\"colour\"") && KNOWN.iter().all(|(short, _)| error.contains(short)),
            "{error}"
        );
    }

    #[test]
    fn a_value_that_cannot_be_is_refused() {
        for (key, value) in [
            ("icc", "maybe"),
            ("mtu", "67"),
            ("mtu", "x"),
            ("mtu", "65536"),
            ("bridge-name", "a/b"),
            ("bridge-name", ""),
            ("bridge-name", "sixteen-letters."),
            ("bridge-name", ".."),
            ("host-binding", "::1"),
        ] {
            assert!(matches!(read(&[(key, value)]), Err(Error::InvalidValue { .. })), "{key}={value}");
        }
    }
}
