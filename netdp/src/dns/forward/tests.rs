//! Servers of others, as they are and as they should not be, on addresses of the loopback.

use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, LocalSet};

use super::*;
use crate::dns::fixture::{ip, network};
use crate::model::Resolver;

/// What all servers of one test listen at: each has an address of its own.
struct Servers {
    port: u16,
    tasks: Vec<JoinHandle<()>>,
}

/// One of them.
struct Upstream {
    address: IpAddr,
    asked: Rc<AtomicUsize>,
}

impl Upstream {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Servers {
    /// A port that is free on all addresses that a test may take.
    async fn new() -> Self {
        let port = UdpSocket::bind("0.0.0.0:0").await.unwrap().local_addr().unwrap().port();
        Self { port, tasks: Vec::new() }
    }

    /// Answers each datagram with these, one after the other.
    async fn start(&mut self, reply: impl Fn(&Message) -> Vec<Vec<u8>> + 'static) -> Upstream {
        let number = u8::try_from(self.tasks.len() + 1).unwrap();
        let address = IpAddr::from([127, 53, 0, number]);
        let socket = UdpSocket::bind((address, self.port)).await.unwrap();
        let asked = Rc::new(AtomicUsize::new(0));
        let count = Rc::clone(&asked);
        self.tasks.push(tokio::task::spawn_local(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::Relaxed);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                for answer in reply(&query) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        }));
        Upstream { address, asked }
    }

    /// Answers connections to the same address.
    async fn connections(&mut self, at: &Upstream, reply: impl Fn(&Message) -> Vec<u8> + 'static) {
        let listener = TcpListener::bind((at.address, self.port)).await.unwrap();
        self.tasks.push(tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut bytes).await.unwrap();
                stream.write_all(&reply(&Message::from_vec(&bytes).unwrap())).await.unwrap();
            }
        }));
    }

    fn forwarder(&self) -> Forwarder {
        let nowhere = ResolvConf::new("/nonexistent/resolv.conf".as_ref(), &[]);
        Forwarder { port: self.port, ..Forwarder::new(nowhere) }
    }
}

/// Whom a test asks.
fn servers(all: &[&Upstream]) -> Beyond {
    Beyond::Servers(all.iter().map(|upstream| upstream.address).collect())
}

fn www() -> Name {
    Name::from_ascii("www.example.").unwrap()
}

fn asked() -> Asked {
    let query = Query::query(www(), RecordType::A);
    let mut draft = Message::response(7, OpCode::Query);
    draft.add_query(query.clone());
    Asked { query, dnssec: false, checking_disabled: false, draft }
}

/// What a server says to a connection.
type Bad = Box<dyn Fn(&Message) -> Vec<u8>>;

/// The address whose last number says who has answered.
fn answer(query: &Message, last: u8) -> Message {
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.queries.clone_from(&query.queries);
    answer.add_answer(Record::from_rdata(www(), 60, RData::A(A([192, 0, 2, last].into()))));
    answer
}

fn good(last: u8) -> impl Fn(&Message) -> Vec<Vec<u8>> + 'static {
    move |query| vec![answer(query, last).to_vec().unwrap()]
}

fn fails(code: ResponseCode) -> impl Fn(&Message) -> Vec<Vec<u8>> + 'static {
    move |query| {
        let mut failed = answer(query, 0);
        failed.answers.clear();
        failed.metadata.response_code = code;
        vec![failed.to_vec().unwrap()]
    }
}

/// Who has answered.
fn who(message: &Message) -> u8 {
    let [Record { data: RData::A(address), .. }] = &message.answers[..] else { panic!("{message}") };
    address.octets()[3]
}

fn directory() -> Directory {
    Directory::new(&[network(2, "net", false)], &[], &Resolver::default())
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_silent_server_is_asked_beside_the_next_and_then_last() {
    run(async {
        let mut all = Servers::new().await;
        let (silent, second) = (all.start(|_| Vec::new()).await, all.start(good(2)).await);
        let (forwarder, beyond) = (all.forwarder(), servers(&[&silent, &second]));
        let begin = Instant::now();
        assert_eq!(who(&forwarder.ask(&asked(), &beyond, &directory()).await), 2);
        let took = begin.elapsed();
        assert!(took >= STAGGER && took < Duration::from_secs(4), "{took:?}");
        assert_eq!((silent.asked(), second.asked()), (1, 1));
        let begin = Instant::now();
        assert_eq!(who(&forwarder.ask(&asked(), &beyond, &directory()).await), 2);
        assert!(begin.elapsed() < STAGGER, "it is known whom to ask: {:?}", begin.elapsed());
        assert_eq!(silent.asked(), 1);
    });
}

#[test]
fn the_first_of_several_that_answer_is_enough() {
    run(async {
        let mut all = Servers::new().await;
        let (first, second) = (all.start(good(1)).await, all.start(good(2)).await);
        let answer = all.forwarder().ask(&asked(), &servers(&[&first, &second]), &directory()).await;
        assert_eq!((who(&answer), answer.metadata.id, second.asked()), (1, 7, 0));
    });
}

#[test]
fn a_server_that_fails_makes_way_at_once() {
    run(async {
        for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp] {
            let mut all = Servers::new().await;
            let (failing, second) = (all.start(fails(code)).await, all.start(good(2)).await);
            let begin = Instant::now();
            let answer = all.forwarder().ask(&asked(), &servers(&[&failing, &second]), &directory()).await;
            assert_eq!(who(&answer), 2);
            assert!(begin.elapsed() < STAGGER, "{:?}", begin.elapsed());
        }
    });
}

#[test]
fn that_there_is_no_such_name_is_an_answer() {
    run(async {
        let mut all = Servers::new().await;
        let (first, second) = (all.start(fails(ResponseCode::NXDomain)).await, all.start(good(2)).await);
        let answer = all.forwarder().ask(&asked(), &servers(&[&first, &second]), &directory()).await;
        assert_eq!((answer.metadata.response_code, second.asked()), (ResponseCode::NXDomain, 0));
    });
}

#[test]
fn nobody_who_helps_is_a_failure_within_the_clients_five_seconds() {
    run(async {
        let mut all = Servers::new().await;
        let (first, second) = (all.start(|_| Vec::new()).await, all.start(|_| Vec::new()).await);
        let begin = Instant::now();
        let answer = all.forwarder().ask(&asked(), &servers(&[&first, &second]), &directory()).await;
        let took = begin.elapsed();
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!((first.asked(), second.asked()), (2, 2), "datagrams are lost: twice each");
    });
}

#[test]
fn what_the_last_server_says_is_the_answer_when_all_refuse() {
    run(async {
        let mut all = Servers::new().await;
        let refuses = all.start(fails(ResponseCode::Refused)).await;
        let (forwarder, begin) = (all.forwarder(), Instant::now());
        let answer = forwarder.ask(&asked(), &servers(&[&refuses]), &directory()).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
        assert!(begin.elapsed() < STAGGER);
        assert!(forwarder.remembered(&asked(), &servers(&[&refuses]), &directory()).is_none());
    });
}

#[test]
fn without_anybody_to_ask_it_fails_at_once_and_never_asks_itself() {
    run(async {
        let forwarder = Servers::new().await.forwarder();
        for beyond in [Beyond::Host, Beyond::Nowhere, Beyond::Servers(vec![ip("10.2.0.1"), ip("fd00:2::1")])]
        {
            let begin = Instant::now();
            let answer = forwarder.ask(&asked(), &beyond, &directory()).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{beyond:?}");
            assert!(begin.elapsed() < STAGGER, "{beyond:?}");
        }
    });
}

#[test]
fn answers_that_are_none_to_this_query_are_not_taken() {
    run(async {
        let mut all = Servers::new().await;
        let forged = |query: &Message| {
            let with = |change: &dyn Fn(&mut Message)| {
                let mut message = answer(query, 66);
                change(&mut message);
                message.to_vec().unwrap()
            };
            let mut cut = answer(query, 66).to_vec().unwrap();
            cut.truncate(cut.len() - 2);
            vec![
                b"damaged".to_vec(),
                cut,
                with(&|it| it.metadata.id ^= 1),
                with(&|it| it.metadata.message_type = MessageType::Query),
                with(&|it| it.queries.clear()),
                with(&|it| {
                    it.queries[0].set_query_type(RecordType::AAAA);
                }),
                with(&|it| {
                    it.queries[0].set_name(Name::from_ascii("www.example.org.").unwrap());
                }),
                answer(query, 1).to_vec().unwrap(),
            ]
        };
        let upstream = all.start(forged).await;
        let reply = all.forwarder().ask(&asked(), &servers(&[&upstream]), &directory()).await;
        assert_eq!((who(&reply), upstream.asked()), (1, 1));
    });
}

#[test]
fn an_answer_from_another_port_is_not_seen() {
    run(async {
        let mut all = Servers::new().await;
        let seen = Rc::new(std::cell::Cell::new(0));
        let (address, noted) = (IpAddr::from([127, 53, 0, 1]), Rc::clone(&seen));
        // It answers as the server would, to the very port and number, and at the server's address: all but its port.
        let socket = UdpSocket::bind((address, all.port)).await.unwrap();
        let other = UdpSocket::bind((address, 0)).await.unwrap();
        all.tasks.push(tokio::task::spawn_local(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                noted.set(from.port());
                other.send_to(&answer(&query, 66).to_vec().unwrap(), from).await.unwrap();
                sleep(Duration::from_millis(50)).await;
                socket.send_to(&answer(&query, 1).to_vec().unwrap(), from).await.unwrap();
            }
        }));
        let beyond = Beyond::Servers(vec![address]);
        let forwarder = all.forwarder();
        assert_eq!(who(&forwarder.ask(&asked(), &beyond, &directory()).await), 1);
        let before = seen.get();
        assert_eq!(who(&forwarder.ask(&asked(), &beyond, &directory()).await), 1);
        assert_ne!(before, seen.get(), "each query has a port of its own");
    });
}

#[test]
fn a_truncated_answer_is_had_by_a_connection_if_that_is_sound() {
    run(async {
        let truncated = |query: &Message| {
            let mut cut = answer(query, 66);
            cut.answers.clear();
            cut.metadata.truncation = true;
            vec![cut.to_vec().unwrap()]
        };
        let framed =
            |bytes: Vec<u8>| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes[..]].concat();
        let whole = move |query: &Message| framed(answer(query, 1).to_vec().unwrap());
        let mut all = Servers::new().await;
        let upstream = all.start(truncated).await;
        all.connections(&upstream, whole).await;
        let reply = all.forwarder().ask(&asked(), &servers(&[&upstream]), &directory()).await;
        assert_eq!((who(&reply), reply.metadata.truncation), (1, false));
        let forged = move |query: &Message| {
            let mut other = answer(query, 66);
            other.metadata.id ^= 1;
            framed(other.to_vec().unwrap())
        };
        let damaged = move |_: &Message| framed(b"damaged".to_vec());
        let short = |_: &Message| vec![0x10, 0, 1, 2, 3];
        let bad: [Bad; 3] = [Box::new(forged), Box::new(damaged), Box::new(short)];
        for reply in bad {
            let mut all = Servers::new().await;
            let (first, second) = (all.start(truncated).await, all.start(good(2)).await);
            all.connections(&first, reply).await;
            let begin = Instant::now();
            let reply = all.forwarder().ask(&asked(), &servers(&[&first, &second]), &directory()).await;
            assert_eq!(who(&reply), 2);
            assert!(begin.elapsed() < STAGGER, "{:?}", begin.elapsed());
        }
    });
}

#[test]
fn what_was_answered_is_remembered_for_those_who_ask_the_same_servers() {
    run(async {
        let mut all = Servers::new().await;
        let (first, second) = (all.start(good(1)).await, all.start(good(2)).await);
        let (forwarder, directory) = (all.forwarder(), directory());
        let of = |upstream: &Upstream| servers(&[upstream]);
        assert!(forwarder.remembered(&asked(), &of(&first), &directory).is_none());
        forwarder.ask(&asked(), &of(&first), &directory).await;
        let mut later = asked();
        later.draft.metadata.id = 8;
        let remembered = forwarder.remembered(&later, &of(&first), &directory).unwrap();
        assert_eq!((who(&remembered), remembered.metadata.id), (1, 8));
        assert!(forwarder.remembered(&later, &of(&second), &directory).is_none());
        assert!(!remembered.metadata.authoritative, "it is not ours to say");
    });
}

#[test]
fn no_more_is_asked_at_a_time_than_there_is_room_for() {
    run(async {
        let forwarder = Servers::new().await.forwarder();
        let [one, two] = [Asker::Endpoint(0), Asker::Endpoint(1)];
        let all: Vec<_> = (0..EACH).map(|_| forwarder.permit(one).unwrap()).collect();
        assert!(forwarder.permit(one).is_none());
        assert!(forwarder.permit(two).is_some(), "there is room for another one");
        let mut rest = Box::pin(forwarder.rest());
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, &mut rest).await.is_err(), "something is being asked");
        drop(all);
        rest.await;
        assert!(forwarder.permit(one).is_some());
    });
}
