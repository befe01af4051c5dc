use super::*;

const MAC_OF_CLIENT: Mac = Mac([2, 0x42, 0, 0, 0, 7]);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GIVEN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn client() -> Client<'static> {
    Client { mac: MAC_OF_CLIENT, hostname: "web", xid: 0x0102_0304 }
}

/// An answer of a server as it is on the wire; `change` says how it is other than usual.
fn answer(kind: MessageType, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::default();
    let Client { mac, xid, .. } = client();
    message.set_opcode(Opcode::BootReply).set_xid(xid).set_chaddr(&mac.0).set_yiaddr(GIVEN);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(SERVER));
    options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
    options.insert(DhcpOption::AddressLeaseTime(120));
    options.insert(DhcpOption::Router(vec![Ipv4Addr::new(198, 51, 100, 1), SERVER]));
    change(&mut message);
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

fn with(option: DhcpOption) -> Vec<u8> {
    answer(MessageType::Ack, |message| drop(message.opts_mut().insert(option)))
}

fn without(option: OptionCode) -> Vec<u8> {
    answer(MessageType::Ack, |message| drop(message.opts_mut().remove(option)))
}

fn acked(bytes: &[u8]) -> Terms {
    match client().decode(bytes) {
        Ok(Answer::Ack(terms)) => terms,
        other => panic!("{other:?}"),
    }
}

fn unfit(bytes: &[u8]) -> String {
    match client().decode(bytes) {
        Err(Refused::Unfit(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_says_who_it_is_and_what_it_wants() {
    let said = |question| {
        let bytes = client().encode(question, 3).unwrap();
        assert!(bytes.len() >= MIN_PACKET_SIZE);
        Message::decode(&mut Decoder::new(&bytes)).unwrap()
    };
    let discover = said(Question::Discover(Some(GIVEN)));
    assert_eq!((discover.chaddr(), discover.xid(), discover.secs()), (&MAC_OF_CLIENT.0[..], 0x0102_0304, 3));
    assert!(discover.flags().broadcast() && discover.opts().has_msg_type(MessageType::Discover));
    let option = |message: &Message, code| message.opts().get(code).cloned();
    assert_eq!(option(&discover, OptionCode::Hostname), Some(DhcpOption::Hostname("web".to_owned())));
    let asked = Some(DhcpOption::RequestedIpAddress(GIVEN));
    assert_eq!(option(&discover, OptionCode::RequestedIpAddress), asked);
    assert_eq!(option(&said(Question::Discover(None)), OptionCode::RequestedIpAddress), None);
    let select = said(Question::Select { address: GIVEN, server: SERVER });
    assert_eq!(option(&select, OptionCode::ServerIdentifier), Some(DhcpOption::ServerIdentifier(SERVER)));
    assert_eq!(
        (option(&select, OptionCode::RequestedIpAddress), select.ciaddr()),
        (asked, Ipv4Addr::UNSPECIFIED)
    );
    // RFC 2131, table 5: in these states the address stands in ciaddr, and only there.
    let extend = said(Question::Extend(GIVEN));
    assert_eq!((extend.ciaddr(), option(&extend, OptionCode::RequestedIpAddress)), (GIVEN, None));
    assert_eq!(option(&extend, OptionCode::ServerIdentifier), None);
    assert!(!extend.flags().broadcast());
    let release = said(Question::Release { address: GIVEN, server: SERVER });
    assert_eq!((release.ciaddr(), release.opts().msg_type()), (GIVEN, Some(MessageType::Release)));
}

#[test]
fn an_answer_to_this_client_is_taken() {
    let bytes = answer(MessageType::Offer, |_| {});
    let Ok(Answer::Offer(terms)) = client().decode(&bytes) else { panic!("{:?}", client().decode(&bytes)) };
    assert_eq!((terms.server, terms.address), (SERVER, "192.0.2.7/24".parse().unwrap()));
    assert_eq!(terms.gateway, Some(SERVER), "the first router that is on the link");
    assert_eq!(terms.times, [60, 105, 120]);
    let refusal = answer(MessageType::Nak, |_| {});
    assert_eq!(client().decode(&refusal), Ok(Answer::Nak(Some(SERVER))));
    let lease = terms.lease("eth1", &client(), Mac([2; 6]), 1000);
    assert_eq!((lease.hostname.as_str(), lease.mac, lease.ends()), ("web", MAC_OF_CLIENT, Some(1120)));
}

#[test]
fn an_answer_to_somebody_else_is_not() {
    let mut bytes = answer(MessageType::Ack, |_| {});
    for (at, what) in [
        (0, "a question"),
        (1, "other hardware"),
        (2, "a length of the MAC that its reader would believe"),
        (7, "another conversation"),
        (33, "another MAC"),
        (FIXED - 1, "no options"),
    ] {
        let right = bytes[at];
        bytes[at] = 0xee;
        assert_eq!(client().decode(&bytes), Err(Refused::NotForUs), "{what}");
        bytes[at] = right;
    }
    for kind in [MessageType::Discover, MessageType::Inform, MessageType::Unknown(77)] {
        assert_eq!(client().decode(&answer(kind, |_| {})), Err(Refused::NotForUs));
    }
    assert_eq!(client().decode(&without(OptionCode::MessageType)), Err(Refused::NotForUs), "BOOTP");
    assert_eq!(client().decode(&bytes), Ok(Answer::Ack(acked(&bytes))), "it is right again");
}

#[test]
fn an_answer_that_is_cut_off_is_refused() {
    let bytes = answer(MessageType::Ack, |_| {});
    for length in 0..FIXED {
        assert_eq!(client().decode(&bytes[..length]), Err(Refused::NotForUs), "after {length} bytes");
    }
    // Between two options it is one that lacks some; without its end alone it is whole.
    let whole = client().decode(&bytes);
    for length in FIXED..bytes.len() - 1 {
        let cut = client().decode(&bytes[..length]);
        assert!(cut.is_err() || (cut != whole && cut.is_ok()), "after {length} bytes: {cut:?}");
    }
    assert_eq!(client().decode(&bytes[..bytes.len() - 1]), whole);
    let beyond = [&bytes[..FIXED], &[1, 200, 255, 255, 255, 0]].concat();
    assert!(unfit(&beyond).contains("cut off"));
}

#[test]
fn an_option_that_is_as_long_as_it_cannot_be_is_not_there() {
    let spoilt = |code: u8, value: &[u8]| {
        let mut bytes = answer(MessageType::Ack, |_| {});
        let end = bytes.pop();
        bytes.extend([code, u8::try_from(value.len()).unwrap()]);
        bytes.extend(value);
        bytes.extend(end);
        bytes
    };
    // Together they would be one of eight bytes (RFC 3396).
    assert_eq!(acked(&spoilt(1, &[255, 0, 0, 0])).address.prefix_len(), 24, "the first of two masks");
    assert_eq!(acked(&spoilt(26, &[5, 120, 0])).mtu, None);
    assert_eq!(acked(&spoilt(26, &[5, 120])).mtu, Some(1400));
    assert!(acked(&spoilt(6, &[9, 9, 9])).name_servers.is_empty());
    assert!(acked(&spoilt(6, &[])).name_servers.is_empty());
    assert_eq!(acked(&spoilt(121, &[33, 10, 0, 0, 0])).gateway, None, "a prefix that is too long");
    // Options that nobody asked for are not even looked at.
    for code in [81, 82, 116, 117, 118, 119, 125, 212] {
        assert_eq!(acked(&spoilt(code, &[1, 2, 3])).times, [60, 105, 120], "option {code}");
    }
}

#[test]
fn nothing_that_is_received_ends_the_client() {
    let bytes = with(DhcpOption::ClasslessStaticRoute(vec![("10.0.0.0/8".parse().unwrap(), SERVER)]));
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..50_000 {
        let mut spoilt = bytes.clone();
        for _ in 0..=random(4) {
            let at = FIXED + random(spoilt.len() - FIXED);
            spoilt[at] = u8::try_from(random(256)).unwrap();
        }
        spoilt.truncate(FIXED + random(spoilt.len() - FIXED + 1));
        let _ = client().decode(&spoilt);
    }
}

#[test]
fn an_address_that_no_interface_can_have_is_refused() {
    for given in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.0", "192.0.2.255"] {
        let bytes = answer(MessageType::Ack, |message| {
            message.set_yiaddr(given.parse::<Ipv4Addr>().unwrap());
        });
        assert!(unfit(&bytes).contains("no interface can have"), "{given}");
    }
    assert!(unfit(&with(DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0)))).contains("no interface"));
    assert!(unfit(&with(DhcpOption::SubnetMask(Ipv4Addr::UNSPECIFIED))).contains("no interface"));
    assert!(unfit(&without(OptionCode::ServerIdentifier)).contains("who it is"));
    assert!(unfit(&with(DhcpOption::ServerIdentifier(Ipv4Addr::BROADCAST))).contains("who it is"));
    assert!(unfit(&without(OptionCode::AddressLeaseTime)).contains("how long"));
    assert!(unfit(&with(DhcpOption::AddressLeaseTime(0))).contains("how long"));
    assert_eq!(acked(&without(OptionCode::SubnetMask)).address.prefix_len(), 24, "that of its class");
    let host = with(DhcpOption::SubnetMask(Ipv4Addr::BROADCAST));
    assert_eq!((acked(&host).address.prefix_len(), acked(&host).gateway), (32, None));
}

#[test]
fn times_are_in_order_whatever_the_server_says() {
    let times = |t1: Option<u32>, t2: Option<u32>, end: u32| {
        let bytes = answer(MessageType::Ack, |message| {
            let options = message.opts_mut();
            options.insert(DhcpOption::AddressLeaseTime(end));
            t1.map(|t1| options.insert(DhcpOption::Renewal(t1)));
            t2.map(|t2| options.insert(DhcpOption::Rebinding(t2)));
        });
        acked(&bytes).times
    };
    assert_eq!(times(Some(4), None, 120), [4, 105, 120]);
    assert_eq!(times(Some(4), Some(6), 120), [4, 6, 120]);
    assert_eq!(times(Some(90), Some(60), 120), [60, 60, 120]);
    assert_eq!(times(Some(0), Some(500), 120), [60, 105, 120]);
    assert_eq!(times(None, None, 1), [1, 1, 1]);
    assert_eq!(times(Some(5), Some(6), Lease::FOR_EVER), [Lease::FOR_EVER; 3]);
    assert_eq!(times(None, None, Lease::FOR_EVER - 1)[2], Lease::FOR_EVER - 1);
}

#[test]
fn classless_routes_are_all_that_there_are() {
    let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
    let far = Ipv4Addr::new(203, 0, 113, 9);
    let near = Ipv4Addr::new(192, 0, 2, 9);
    let bytes = with(DhcpOption::ClasslessStaticRoute(vec![
        (net("0.0.0.0/0"), near),
        (net("10.1.0.0/16"), near),
        (net("10.2.0.0/16"), far),
    ]));
    let terms = acked(&bytes);
    assert_eq!(terms.gateway, Some(near));
    assert_eq!(terms.routes, [NetworkRoute { to: IpNet::V4(net("10.1.0.0/16")), via: near.into() }]);
    let none = acked(&with(DhcpOption::ClasslessStaticRoute(vec![(net("10.1.0.0/16"), near)])));
    assert_eq!((none.gateway, none.routes.len()), (None, 1), "the router is not looked at");
}

#[test]
fn what_else_is_said_is_taken_within_bounds() {
    let mtu = |mtu| acked(&with(DhcpOption::InterfaceMtu(mtu))).mtu;
    assert_eq!((mtu(1400), mtu(67), mtu(0)), (Some(1400), None, None));
    let servers: Vec<Ipv4Addr> =
        [[127, 0, 0, 1], [192, 0, 2, 3], [9, 9, 9, 9], [8, 8, 8, 8], [8, 8, 4, 4]].map(Into::into).to_vec();
    let taken = acked(&with(DhcpOption::DomainNameServer(servers.clone()))).name_servers;
    assert_eq!(taken, servers[1..4].iter().map(|it| IpAddr::V4(*it)).collect::<Vec<_>>());
}
