//! What the database keeps, refuses and takes over.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::model::{AttachmentOptions, Driver, Mac, Netns, Protocol};

fn a_network(name: &str) -> Network {
    Network {
        number: 0,
        id: Id::random().unwrap(),
        name: name.parse().unwrap(),
        created: 1,
        driver: Driver::Null,
        options: [("a".to_owned(), "b".to_owned())].into(),
        labels: [].into(),
    }
}

fn an_endpoint(name: &str, network: u32, host_port: u16) -> Endpoint {
    let port = PublishedPort {
        protocol: Protocol::Tcp,
        host_address: Ipv4Addr::UNSPECIFIED.into(),
        host_port: Some(host_port),
        container_port: 80,
        sources: "10.0.0.0/8,fd00::/8".parse().unwrap(),
    };
    let address = Ipv4Addr::from_bits(0x0a00_0000 | u32::from(host_port));
    let attachment = Attachment {
        id: Id::random().unwrap(),
        network,
        addr4: Some(address),
        addr6: Some(Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(host_port))),
        mac: Mac::of_address(address),
        ifname: "eth0".to_owned(),
        options: AttachmentOptions::default(),
        ports: vec![port],
        lease: None,
    };
    Endpoint {
        id: Id::random().unwrap(),
        name: name.parse().unwrap(),
        created: 2,
        netns: Netns { path: "/run/netns/x".into(), device: 4, inode: u64::from(host_port) },
        options: EndpointOptions::default(),
        attachments: vec![attachment],
    }
}

#[test]
fn what_was_committed_is_read_back_and_the_rest_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let change = store.begin().unwrap();
    let number = change.add_network(&a_network("one")).unwrap();
    let web = an_endpoint("web", number, 8080);
    change.add_endpoint(&web).unwrap();
    change.commit().unwrap();
    let dropped = store.begin().unwrap();
    dropped.remove_endpoint(&web.id).unwrap();
    drop(dropped);
    let reader = Store::read(directory.path()).unwrap().unwrap();
    assert_eq!(reader.endpoint("web").unwrap().unwrap(), web);
    assert_eq!(reader.endpoint_in(4, 8080).unwrap().unwrap(), web);
    assert_eq!(reader.endpoints().unwrap(), std::slice::from_ref(&web));
    assert_eq!(
        reader.holders(Protocol::Tcp, 8080).unwrap(),
        [(web.attachments[0].ports[0].clone(), "web".to_owned())]
    );
    assert_eq!(reader.used_addresses(number).unwrap(), web.attachments[0].addresses().collect());
    reader.check().unwrap();
}

#[test]
fn numbers_of_networks_are_never_used_twice() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let change = store.begin().unwrap();
    let first = change.add_network(&a_network("one")).unwrap();
    change.remove_network(first).unwrap();
    assert_eq!(change.add_network(&a_network("two")).unwrap(), first + 1);
    change.commit().unwrap();
}

#[test]
fn removing_an_endpoint_removes_its_ports_and_a_used_network_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let change = store.begin().unwrap();
    let number = change.add_network(&a_network("one")).unwrap();
    let web = an_endpoint("web", number, 8080);
    change.add_endpoint(&web).unwrap();
    assert!(change.remove_network(number).is_err());
    assert!(change.add_endpoint(&an_endpoint("other", number, 8080)).is_err());
    change.remove_endpoint(&web.id).unwrap();
    change.remove_network(number).unwrap();
    change.commit().unwrap();
    assert!(store.holders(Protocol::Tcp, 8080).unwrap().is_empty());
}

#[test]
fn reading_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Store::read(directory.path()).unwrap().is_none());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_new_database_can_be_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    Store::open(directory.path()).unwrap().discard_if_new();
    assert!(Store::read(directory.path()).unwrap().is_none());
    drop(Store::open(directory.path()).unwrap());
    Store::open(directory.path()).unwrap().discard_if_new();
    assert!(Store::read(directory.path()).unwrap().is_some());
}

/// What `open` and `read` say about a file, which must be the same afterwards.
fn refused(directory: &Path, content: &[u8]) -> Error {
    let path = directory.join(FILE);
    fs::write(&path, content).unwrap();
    assert!(Store::read(directory).is_err());
    let error = Store::open(directory).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), content);
    error
}

#[test]
fn a_file_that_is_no_database_of_ours_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path()).unwrap());
    let whole = fs::read(directory.path().join(FILE)).unwrap();
    assert!(matches!(refused(directory.path(), b""), Error::Damaged(_)));
    assert!(matches!(refused(directory.path(), &[b'x'; 5000]), Error::NotADatabase(_)));
    assert!(matches!(refused(directory.path(), &whole[..whole.len() / 2]), Error::Damaged(_)));
    assert!(refused(directory.path(), &whole[..50]).advice().is_some());
    assert!(matches!(refused(directory.path(), &whole[..whole.len() - 1]), Error::Damaged(_)));
    let mut newer = whole.clone();
    newer[63] = 9;
    assert!(matches!(refused(directory.path(), &newer), Error::Newer { found: 9, .. }));
    let mut foreign = whole;
    foreign[63] = 0;
    assert!(matches!(refused(directory.path(), &foreign), Error::NotADatabase(_)));
}

/// As the version with schema 1 has left it.
const OLD: &str = "
    CREATE TABLE networks (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL, driver TEXT NOT NULL, options TEXT NOT NULL, labels TEXT NOT NULL) STRICT;
    CREATE TABLE endpoints (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL, netns_path BLOB NOT NULL, netns_device INTEGER NOT NULL, netns_inode INTEGER NOT NULL) STRICT;
    CREATE INDEX endpoints_by_netns ON endpoints (netns_inode, netns_device);
    CREATE TABLE attachments (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        endpoint INTEGER NOT NULL REFERENCES endpoints (number) ON DELETE CASCADE,
        network INTEGER NOT NULL REFERENCES networks (number), address INTEGER NOT NULL, mac TEXT NOT NULL,
        ifname TEXT NOT NULL, UNIQUE (network, address), UNIQUE (endpoint, network), UNIQUE (endpoint, ifname)) STRICT;
    CREATE TABLE ports (protocol TEXT NOT NULL, host_port INTEGER NOT NULL, host_address INTEGER NOT NULL,
        container_port INTEGER NOT NULL, attachment INTEGER NOT NULL REFERENCES attachments (number) ON DELETE CASCADE,
        PRIMARY KEY (protocol, host_port, host_address)) STRICT, WITHOUT ROWID;
    CREATE INDEX ports_by_attachment ON ports (attachment);
    INSERT INTO networks VALUES (3, 'aa', 'blue', 1, '{\"Bridge\":{\"device\":\"br-aa\",\"mac\":\"02:00:00:00:00:01\",
        \"mtu\":1500,\"pool\":{\"subnet\":\"200.5.0.0/16\",\"gateway\":\"200.5.0.1\",\"range\":null,\"reserved\":{}},
        \"internal\":false,\"icc\":true,\"masquerade\":true,\"host_binding\":\"0.0.0.0\"}}', '{}', '{}');
    INSERT INTO endpoints VALUES (1, 'ee', 'web', 2, x'2f78', 4, 5);
    INSERT INTO attachments VALUES (7, 'ff', 1, 3, 3355770882, '02:42:c8:05:00:02', 'eth0');
    INSERT INTO ports VALUES ('tcp', 8080, 0, 80, 7), ('udp', 53, 2130706433, 53, 7);
    PRAGMA user_version = 1;";

#[test]
fn the_database_of_the_version_before_is_taken_over_whole() {
    let directory = tempfile::tempdir().unwrap();
    Connection::open(directory.path().join(FILE)).unwrap().execute_batch(OLD).unwrap();
    let store = Store::read(directory.path()).unwrap().unwrap();
    store.check().unwrap();
    let bridge = store.networks().unwrap().remove(0).bridge().cloned().unwrap();
    let pool = bridge.pool4.unwrap();
    assert_eq!(
        (pool.subnet.to_string(), pool.gateway.unwrap().to_string()),
        ("200.5.0.0/16".into(), "200.5.0.1".into())
    );
    assert_eq!(bridge.pool6, None);
    let web = store.endpoint("web").unwrap().unwrap();
    let attachment = &web.attachments[0];
    assert_eq!((attachment.addr4, attachment.addr6), (Some(Ipv4Addr::new(200, 5, 0, 2)), None));
    let ports: Vec<String> = attachment.ports.iter().map(PublishedPort::host_side).collect();
    assert_eq!(ports, ["127.0.0.1:53", "0.0.0.0:8080"]);
    assert!(attachment.ports.iter().all(|port| port.sources.is_everybody()));
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    let change = store.begin().unwrap();
    assert!(change.remove_network(3).is_err(), "the endpoint refers to it");
    change.remove_endpoint(&web.id).unwrap();
    change.remove_network(3).unwrap();
    assert_eq!(change.add_network(&a_network("next")).unwrap(), 4);
    change.commit().unwrap();
    assert!(store.holders(Protocol::Tcp, 8080).unwrap().is_empty());
}

/// What schema 3 had otherwise: a routed address had a port of the host that led nowhere.
const THREE: &str = "
    DROP TABLE ports;
    CREATE TABLE ports (protocol TEXT NOT NULL, host_port INTEGER NOT NULL, host_address TEXT NOT NULL,
        container_port INTEGER NOT NULL, sources TEXT NOT NULL,
        attachment INTEGER NOT NULL REFERENCES attachments (number) ON DELETE CASCADE,
        PRIMARY KEY (protocol, host_port, host_address)) STRICT, WITHOUT ROWID;
    CREATE INDEX ports_by_attachment ON ports (attachment);
    INSERT INTO ports SELECT 'tcp', 8080, column1, 80, '', number FROM attachments
        JOIN (VALUES ('0.0.0.0'), ('::'));
    UPDATE networks SET driver = '{\"Bridge\":{\"gateway_mode4\":\"nat\",\"gateway_mode6\":\"routed\"}}';
    PRAGMA user_version = 3;";

#[test]
fn ports_of_routed_addresses_have_none_of_the_host_s_and_clash_with_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let change = store.begin().unwrap();
    let network = change.add_network(&a_network("blue")).unwrap();
    change.add_endpoint(&an_endpoint("web", network, 9)).unwrap();
    change.commit().unwrap();
    drop(store);
    Connection::open(directory.path().join(FILE)).unwrap().execute_batch(THREE).unwrap();
    let tried = Store::copy(directory.path()).unwrap();
    assert_eq!(tried.endpoint("web").unwrap().unwrap().attachments[0].ports.len(), 2);
    let at_rest = Store::connect(directory.path().join(FILE), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    assert!(matches!(at_rest.check_schema(), Err(Error::Older(_))), "trying changes nothing");
    drop(at_rest);
    let store = Store::open(directory.path()).unwrap();
    let sides = |name: &str| -> Vec<String> {
        let attachment = store.endpoint(name).unwrap().unwrap().attachments.remove(0);
        attachment.ports.iter().map(PublishedPort::host_side).collect()
    };
    assert_eq!(sides("web"), ["0.0.0.0:8080", "[::]:"]);
    let mut other = an_endpoint("other", network, 8081);
    let routed = PublishedPort { host_port: None, ..other.attachments[0].ports[0].clone() };
    other.attachments[0].ports = vec![routed.clone(), routed];
    let change = store.begin().unwrap();
    change.add_endpoint(&other).unwrap();
    change.commit().unwrap();
    assert_eq!(sides("other").len(), 2);
    assert_eq!(store.holders_between(Protocol::Tcp, 0, u16::MAX).unwrap().len(), 1);
    let change = store.begin().unwrap();
    let other = an_endpoint("third", network, 8080);
    assert!(change.add_endpoint(&other).is_err(), "a port of the host is one endpoint's");
}
