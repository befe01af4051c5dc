use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::*;
use crate::dns::fixture::{alias, endpoint, ip, network, with_ipv6};
use crate::model::{AttachmentOptions, Resolver};

/// Whoever asks: the endpoint `asker` of the network `net`, by which everything is told here.
const ASKER: &str = "10.2.0.2";
const GATEWAY: &str = "10.2.0.1";

/// Beside `asker`: `web` has both families, `old` IPv4 alone, and three are called `many`. `inner` is in an internal network.
fn directory() -> Directory {
    let networks = [network(1, "bridge", false), network(2, "Net", false), network(3, "back", true)];
    let link = AttachmentOptions {
        links: vec![("db".to_owned(), "many".to_owned()), ("gone".to_owned(), "nobody".to_owned())],
        ..AttachmentOptions::default()
    };
    let mut asker = endpoint("asker", 2, &[(2, link)]);
    asker.options.resolver.search = vec!["lan.example".to_owned()];
    asker.options.extra_hosts = [
        ("printer", "192.0.2.7"),
        ("printer", "2001:db8::7"),
        ("web", "192.0.2.8"),
        ("Me.Example", "10.2.0.1"),
    ]
    .map(|(name, address)| (name.to_owned(), ip(address)))
    .into();
    let mut old = endpoint("old", 4, &[(2, AttachmentOptions::default())]);
    old.options.hostname = Some("Mainframe.corp".to_owned());
    let many = (5..8).map(|last| with_ipv6(endpoint(&format!("m{last}"), last, &[(2, alias("many"))])));
    let mut endpoints = vec![
        asker,
        with_ipv6(endpoint("Web", 3, &[(2, alias("www"))])),
        old,
        endpoint("inner", 9, &[(3, AttachmentOptions::default())]),
        endpoint("lone", 10, &[(1, AttachmentOptions::default())]),
    ];
    endpoints.extend(many);
    Directory::new(&networks, &endpoints, &Resolver::default())
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
    message
}

fn decided_for(from: &str, query: &Message) -> (Decision, u16) {
    let server = from.rsplit_once('.').map(|(net, _)| format!("{net}.1")).unwrap();
    decide(&query.to_vec().unwrap(), ip(&server), ip(from), &directory())
}

fn answered_to(from: &str, name: &str, kind: RecordType) -> Message {
    match decided_for(from, &query(name, kind)).0 {
        Decision::Answer(answer) => answer,
        other => panic!("{name}: {other:?}"),
    }
}

fn answered(name: &str, kind: RecordType) -> Message {
    answered_to(ASKER, name, kind)
}

fn is_forwarded(name: &str, kind: RecordType) -> bool {
    matches!(decided_for(ASKER, &query(name, kind)).0, Decision::Forward(..))
}

fn addresses(answer: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(address) => address.0.into(),
        RData::AAAA(address) => address.0.into(),
        other => panic!("{other}"),
    };
    answer.answers.iter().map(address).collect()
}

/// What bytes are answered with: the code of the answer, or nothing.
fn code_of(bytes: &[u8]) -> Option<ResponseCode> {
    match decide(bytes, ip(GATEWAY), ip(ASKER), &directory()).0 {
        Decision::Ignore => None,
        Decision::Answer(answer) => Some(answer.metadata.response_code),
        Decision::Forward(asked, _) => panic!("{asked:?}"),
    }
}

#[test]
fn a_name_has_the_addresses_of_its_family_and_nothing_else() {
    for name in ["www", "WWW", "web.net", "wEb.NeT", "www.Net", "www.lan.example"] {
        let answer = answered(name, RecordType::A);
        assert_eq!(addresses(&answer), [ip("10.2.0.3")], "{name}");
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        assert_eq!((answer.metadata.id, answer.metadata.message_type), (0x1234, MessageType::Response));
        assert_eq!(
            answer.queries,
            query(name, RecordType::A).queries,
            "the question is repeated as it was asked"
        );
        assert_eq!(answer.answers[0].ttl, 0);
        assert_eq!(addresses(&answered(name, RecordType::AAAA)), [ip("fd00:2::3")], "{name}");
        let any = answered(name, RecordType::ANY);
        assert_eq!(any.answers.len(), 2, "{name}");
    }
}

#[test]
fn a_type_that_a_name_does_not_have_is_no_data_and_nobody_else_is_asked() {
    for (name, kind) in [
        ("old", RecordType::AAAA),
        ("old.net", RecordType::MX),
        ("www", RecordType::TXT),
        ("www", RecordType::HTTPS),
        ("4.0.2.10.in-addr.arpa", RecordType::A),
        ("db", RecordType::SRV),
    ] {
        let answer = answered(name, kind);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name} {kind}");
        assert!(answer.answers.is_empty() && answer.metadata.authoritative, "{name} {kind}");
    }
}

#[test]
fn short_ids_hostnames_and_search_domains_are_names() {
    let networks = [network(2, "net", false)];
    let asker = endpoint("asker", 2, &[(2, AttachmentOptions::default())]);
    let mut other = endpoint("other", 3, &[(2, AttachmentOptions::default())]);
    other.options.hostname = Some("Mainframe.corp".to_owned());
    let id = other.id.as_str().to_owned();
    let host = Resolver { search: vec!["Site.Example.".to_owned()], ..Resolver::default() };
    let directory = Directory::new(&networks, &[asker, other], &host);
    let short = &id[..12];
    for (name, known) in [
        (short, true),
        (&format!("{}.net", short.to_uppercase()), true),
        ("mainframe.corp", true),
        ("MAINFRAME.CORP.net", true),
        ("other.site.example", true),
        ("other.net.site.example", true),
        (&id[..11], false),
        (&id[..63], false),
        ("mainframe", false),
        ("site.example", false),
        ("xother.site.example", false),
        ("other.example", false),
    ] {
        let bytes = query(name, RecordType::A).to_vec().unwrap();
        let (decision, _) = decide(&bytes, ip(GATEWAY), ip(ASKER), &directory);
        assert_eq!(matches!(decision, Decision::Answer(_)), known, "{name}: {decision:?}");
    }
}

#[test]
fn an_address_has_the_name_of_its_endpoint_in_its_network() {
    for address in ["10.2.0.3", "fd00:2::3"] {
        let name = Name::from(ip(address)).to_ascii();
        let answer = answered(name.trim_end_matches('.'), RecordType::PTR);
        let RData::PTR(target) = &answer.answers[0].data else { panic!("{answer}") };
        assert_eq!(target.0.to_ascii(), "web.net.");
    }
    // One of ours that nobody has, and that of a network which the asker is not in: nobody outside knows better.
    for nobody in ["250.0.2.10.in-addr.arpa", "9.0.3.10.IN-ADDR.arpa"] {
        let answer = answered(nobody, RecordType::PTR);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{nobody}");
    }
    // Not ours, half an address, and no number.
    for other in ["7.2.0.192.in-addr.arpa", "2.10.in-addr.arpa", "x.0.2.10.in-addr.arpa", "1.ip6.arpa"] {
        assert!(is_forwarded(other, RecordType::PTR), "{other}");
    }
}

#[test]
fn endpoints_under_one_name_each_come_first_sometimes() {
    for (kind, all) in [
        (RecordType::A, ["10.2.0.5", "10.2.0.6", "10.2.0.7"]),
        (RecordType::AAAA, ["fd00:2::5", "fd00:2::6", "fd00:2::7"]),
    ] {
        let all: BTreeSet<IpAddr> = all.into_iter().map(ip).collect();
        let directory = directory();
        let mut first = BTreeSet::new();
        // That one of three never comes first in all of these: once in 10^50 runs.
        for _ in 0..300 {
            let bytes = query("many", kind).to_vec().unwrap();
            let (Decision::Answer(answer), _) = decide(&bytes, ip(GATEWAY), ip(ASKER), &directory) else {
                panic!("{kind}")
            };
            let seen = addresses(&answer);
            assert_eq!(seen.iter().copied().collect::<BTreeSet<_>>(), all, "all of them, each time");
            first.insert(seen[0]);
        }
        assert_eq!(first, all, "{kind}");
    }
}

#[test]
fn names_of_the_operator_and_links_are_the_askers_own() {
    assert_eq!(addresses(&answered("printer", RecordType::A)), [ip("192.0.2.7")]);
    assert_eq!(addresses(&answered("PRINTER", RecordType::AAAA)), [ip("2001:db8::7")]);
    assert_eq!(addresses(&answered("me.example", RecordType::A)), [ip("10.2.0.1")]);
    assert_eq!(
        addresses(&answered("web", RecordType::A)),
        [ip("192.0.2.8")],
        "as in /etc/hosts, before all else"
    );
    assert_eq!(answered("db", RecordType::A).answers.len(), 3, "a link to an alias is to all of them");
    assert!(is_forwarded("gone", RecordType::A), "a link to nobody is no name");
    let others = ["printer", "db", "me.example"];
    for name in others {
        let (decision, _) = decided_for("10.2.0.4", &query(name, RecordType::A));
        assert!(matches!(decision, Decision::Forward(..)), "{name}: {decision:?}");
    }
    assert_eq!(addresses(&answered_to("10.2.0.4", "web", RecordType::A)), [ip("10.2.0.3")]);
}

#[test]
fn in_an_internal_network_what_is_not_there_is_nowhere() {
    let inner = answered_to("10.3.0.9", "inner", RecordType::A);
    assert_eq!(addresses(&inner), [ip("10.3.0.9")]);
    for (name, kind) in [
        ("www.example", RecordType::A),
        ("web", RecordType::AAAA),
        ("7.2.0.192.in-addr.arpa", RecordType::PTR),
    ] {
        let answer = answered_to("10.3.0.9", name, kind);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
        assert!(answer.answers.is_empty());
    }
    assert_eq!(
        answered_to("10.3.0.9", "inner", RecordType::AAAA).metadata.response_code,
        ResponseCode::NoError
    );
}

#[test]
fn localhost_is_whoever_asks() {
    for name in ["localhost", "LocalHost", "a.b.localhost"] {
        assert_eq!(addresses(&answered(name, RecordType::A)), [ip("127.0.0.1")]);
        assert_eq!(addresses(&answered(name, RecordType::AAAA)), [ip("::1")]);
    }
    assert!(is_forwarded("notlocalhost", RecordType::A));
}

#[test]
fn what_is_forwarded_is_asked_as_the_client_asked() {
    let mut asks = query("www.example", RecordType::A);
    asks.metadata.checking_disabled = true;
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    asks.set_edns(edns);
    let (Decision::Forward(asked, beyond), limit) = decided_for(ASKER, &asks) else { panic!("{asks}") };
    assert_eq!((asked.query, beyond, limit), (asks.queries[0].clone(), Beyond::Host, MAX_DATAGRAM));
    assert!(asked.dnssec && asked.checking_disabled && asked.draft.edns.is_some());
    assert!(asked.draft.metadata.recursion_desired && asked.draft.answers.is_empty());
    let (Decision::Forward(asked, _), _) = decided_for(ASKER, &query("www.example", RecordType::A)) else {
        panic!("it is nobody's of ours")
    };
    assert!(!asked.dnssec && !asked.checking_disabled && asked.draft.edns.is_none());
    assert_eq!(asked.refused().metadata.response_code, ResponseCode::Refused);
}

#[test]
fn what_is_no_query_is_told_so_or_not_answered() {
    let sound = query("www", RecordType::A).to_vec().unwrap();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        code_of(&bytes)
    };
    let form_err = Some(ResponseCode::FormErr);
    assert_eq!(changed(&|bytes| bytes.truncate(bytes.len() - 1)), form_err, "cut off");
    assert_eq!(changed(&|bytes| bytes.truncate(12)), form_err, "a header alone");
    assert_eq!(changed(&|bytes| bytes[5] = 0), form_err, "no question");
    assert_eq!(changed(&|bytes| bytes[5] = 2), form_err, "two announced, one there");
    let two = |bytes: &mut Vec<u8>| {
        bytes[5] = 2;
        bytes.extend_from_within(12..);
    };
    assert_eq!(changed(&two), form_err, "two questions");
    let loops = |bytes: &mut Vec<u8>| {
        bytes.splice(12.., [0xc0, 12, 0, 1, 0, 1]);
    };
    assert_eq!(changed(&loops), form_err, "a name that points at itself");
    assert_eq!(changed(&|bytes| bytes.truncate(11)), None, "nobody to answer to");
    assert_eq!(changed(&|bytes| bytes[2] |= 0x80), None, "an answer");
    let broken_answer = |bytes: &mut Vec<u8>| {
        bytes[2] |= 0x80;
        bytes.truncate(14);
    };
    assert_eq!(changed(&broken_answer), None, "two servers would answer each other for ever");
    assert_eq!(changed(&|bytes| bytes[2] |= 5 << 3), Some(ResponseCode::NotImp), "an update");
    assert_eq!(changed(&|bytes| *bytes.last_mut().unwrap() = 3), Some(ResponseCode::Refused), "CHAOS");
    let mut newer = query("www", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    assert_eq!(code_of(&newer.to_vec().unwrap()), Some(ResponseCode::BADVERS));
}

#[test]
fn no_octet_of_a_query_can_be_such_that_the_resolver_fails() {
    let mut asks = query("www.net", RecordType::A);
    asks.set_edns(Edns::new());
    let sound = asks.to_vec().unwrap();
    let directory = directory();
    for place in 0..sound.len() {
        for value in 0..=u8::MAX {
            let mut bytes = sound.clone();
            bytes[place] = value;
            let (decision, limit) = decide(&bytes, ip(GATEWAY), ip(ASKER), &directory);
            if let Decision::Answer(answer) = decision {
                let encoded = encode(&answer, limit);
                assert!(encoded.len() >= HEADER && encoded.len() <= limit.into(), "{place} {value}");
                assert_eq!(encoded[..2], bytes[..2], "the number is that of the query");
            }
        }
    }
}

#[test]
fn strangers_are_refused() {
    for (server, from) in
        [(GATEWAY, "10.2.0.99"), (GATEWAY, "10.3.0.9"), ("10.9.0.1", ASKER), ("10.3.0.1", ASKER)]
    {
        let bytes = query("www", RecordType::A).to_vec().unwrap();
        let (Decision::Answer(answer), _) = decide(&bytes, ip(server), ip(from), &directory()) else {
            panic!("{server} {from}")
        };
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{server} {from}");
    }
}

#[test]
fn a_client_takes_what_it_says_within_bounds() {
    for (says, takes) in
        [(None, 512), (Some(0), 512), (Some(511), 512), (Some(1000), 1000), (Some(65_535), 1232)]
    {
        let mut asks = query("www", RecordType::A);
        if let Some(size) = says {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            asks.set_edns(edns);
        }
        assert_eq!(decided_for(ASKER, &asks).1, takes, "{says:?}");
    }
    assert_eq!(decide(b"no query at all", ip(GATEWAY), ip(ASKER), &directory()).1, 512);
}

#[test]
fn what_does_not_fit_is_cut_and_says_so() {
    let mut long = answered("www", RecordType::A);
    long.set_edns(Edns::new());
    let name = Name::from_ascii("www.").unwrap();
    for last in 0..100 {
        let address = A([192, 0, 2, last].into());
        long.add_answer(Record::from_rdata(name.clone(), 0, RData::A(address)));
    }
    let length = encode(&long, u16::MAX).len();
    assert!(length > MAX_DATAGRAM.into(), "{length}");
    let whole = Message::from_vec(&encode(&long, u16::MAX)).unwrap();
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (101, false));
    for limit in [PLAIN_DATAGRAM, MAX_DATAGRAM, u16::try_from(length).unwrap() - 1] {
        let bytes = encode(&long, limit);
        let cut = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= limit.into() && cut.metadata.truncation, "{limit}: {cut}");
        assert!(cut.answers.is_empty() && cut.edns.is_some(), "{cut}");
        assert_eq!(cut.queries, long.queries);
    }
    let fits = encode(&long, u16::try_from(length).unwrap());
    assert!(!Message::from_vec(&fits).unwrap().metadata.truncation);
}
