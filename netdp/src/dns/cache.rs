//! What other servers have answered, for as long as they said that it is good.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{RData, Record};
use lru::LruCache;

/// Answers that are kept; of an answer's usual size that is some megabytes.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Octets of an answer that is kept: some are 64 KiB, and whoever asks for many of those must not have all the memory.
const LARGEST: usize = 4096;
/// An answer is asked for again after this at the latest: a record of a week that was wrong is wrong for an hour here.
const LONGEST: Duration = Duration::from_hours(1);
/// That there is nothing, as RFC 2308 says, 5: the negative answer that outlives its reason is the one that is complained about.
const LONGEST_NEGATIVE: Duration = Duration::from_mins(5);

/// What was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// How it went.
    pub code: ResponseCode,
    /// The server has checked the signatures.
    pub authentic: bool,
    /// The answer.
    pub answers: Vec<Record>,
    /// Who says so, or until when there is nothing.
    pub authorities: Vec<Record>,
    /// What goes with it.
    pub additionals: Vec<Record>,
    /// Its length as it came.
    pub octets: usize,
}

/// What was asked, and of whom.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    /// The question; its name is compared without regard to case.
    pub query: Query,
    /// DNSSEC records were wanted.
    pub dnssec: bool,
    /// Signatures were not to be checked.
    pub checking_disabled: bool,
    /// Other servers may know another world.
    pub servers: Vec<IpAddr>,
}

/// Answers by their questions; of those that were not asked for the longest, it forgets.
#[derive(Debug)]
pub struct Cache {
    entries: LruCache<Key, (Instant, Duration, Reply)>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { entries: LruCache::new(MOST) }
    }
}

impl Cache {
    /// What was answered and is still good, with the time taken off that it has been here.
    pub fn get(&mut self, key: &Key, now: Instant) -> Option<Reply> {
        let (since, good, reply) = self.entries.get(key)?;
        let age = now.saturating_duration_since(*since);
        if age >= *good {
            self.entries.pop(key);
            return None;
        }
        let mut reply = reply.clone();
        let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        for record in reply.answers.iter_mut().chain(&mut reply.authorities).chain(&mut reply.additionals) {
            record.decrement_ttl(seconds);
        }
        Some(reply)
    }

    /// Keeps an answer, if it may be kept at all.
    pub fn put(&mut self, key: Key, reply: &Reply, now: Instant) {
        let good = lifetime(reply);
        if !good.is_zero() && reply.octets <= LARGEST {
            self.entries.put(key, (now, good, reply.clone()));
        }
    }
}

/// How long an answer is good.
fn lifetime(reply: &Reply) -> Duration {
    let seconds = |ttl: u32| Duration::from_secs(ttl.into());
    match reply.code {
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let answered = reply.answers.iter().map(|record| record.ttl).min();
            // Beside aliases too it says for how long there is nothing behind them (RFC 2308, 2.2 and 5).
            let denied = reply.authorities.iter().filter_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            });
            match (answered.map(seconds), denied.min().map(seconds)) {
                (Some(answered), None) if reply.code == ResponseCode::NoError => answered.min(LONGEST),
                (None, Some(denied)) => denied.min(LONGEST_NEGATIVE),
                (Some(answered), Some(denied)) => answered.min(denied).min(LONGEST_NEGATIVE),
                (_, None) => Duration::ZERO,
            }
        }
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, SOA};
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn key(text: &str) -> Key {
        Key {
            query: Query::query(name(text), RecordType::A),
            dnssec: false,
            checking_disabled: false,
            servers: vec!["192.0.2.53".parse().unwrap()],
        }
    }

    fn reply(code: ResponseCode) -> Reply {
        Reply {
            code,
            authentic: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            octets: 100,
        }
    }

    fn record(ttl: u32) -> Record {
        Record::from_rdata(name("www.example."), ttl, RData::A(A([192, 0, 2, 7].into())))
    }

    fn answer(ttls: &[u32]) -> Reply {
        Reply { answers: ttls.iter().copied().map(record).collect(), ..reply(ResponseCode::NoError) }
    }

    /// That there is nothing, by a zone whose record lives so long and says so.
    fn nothing(code: ResponseCode, ttl: u32, minimum: u32) -> Reply {
        let soa = SOA::new(name("ns.example."), name("root.example."), 1, 1, 1, 1, minimum);
        Reply { authorities: vec![Record::from_rdata(name("example."), ttl, RData::SOA(soa))], ..reply(code) }
    }

    /// For how many seconds an answer is given out that was kept.
    fn kept(reply: &Reply) -> u64 {
        let (mut cache, begin) = (Cache::default(), Instant::now());
        cache.put(key("www.example."), reply, begin);
        let mut is_there =
            |second: u64| cache.get(&key("www.example."), begin + Duration::from_secs(second)).is_some();
        let there = (0..10_000).take_while(|second| is_there(*second)).count();
        u64::try_from(there).unwrap()
    }

    #[test]
    fn an_answer_is_good_for_as_long_as_its_shortest_record_and_an_hour_at_most() {
        for (ttls, seconds) in
            [(&[60][..], 60), (&[300, 7, 90], 7), (&[1], 1), (&[0], 0), (&[60, 0], 0), (&[604_800], 3600)]
        {
            assert_eq!(kept(&answer(ttls)), seconds, "{ttls:?}");
        }
    }

    #[test]
    fn that_there_is_nothing_is_good_for_as_long_as_the_zone_says_and_five_minutes_at_most() {
        for code in [ResponseCode::NXDomain, ResponseCode::NoError] {
            for (ttl, minimum, seconds) in [(30, 60, 30), (60, 30, 30), (86_400, 86_400, 300), (60, 0, 0)] {
                assert_eq!(kept(&nothing(code, ttl, minimum)), seconds, "{code} {ttl} {minimum}");
            }
            assert_eq!(kept(&reply(code)), 0, "{code}: nobody says for how long");
            let behind_alias = Reply { answers: vec![record(3600)], ..nothing(code, 86_400, 60) };
            assert_eq!(kept(&behind_alias), 60, "{code}");
        }
        for code in
            [ResponseCode::NXDomain, ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::FormErr]
        {
            assert_eq!(kept(&Reply { code, ..answer(&[60]) }), 0, "{code}");
        }
    }

    #[test]
    fn what_is_given_out_has_lost_the_time_that_it_was_here() {
        let (mut cache, begin) = (Cache::default(), Instant::now());
        let whole = Reply { additionals: vec![record(5)], ..answer(&[60, 90]) };
        cache.put(key("www.example."), &whole, begin);
        let later = cache.get(&key("www.example."), begin + Duration::from_millis(20_900)).unwrap();
        let ttls: Vec<u32> = later.answers.iter().map(|record| record.ttl).collect();
        assert_eq!((ttls, later.additionals[0].ttl), (vec![40, 70], 0));
        let before = cache.get(&key("www.example."), begin.checked_sub(Duration::from_secs(1)).unwrap());
        assert_eq!(before.unwrap().answers[0].ttl, 60, "a clock that was read late");
    }

    #[test]
    fn another_question_or_another_server_is_another_answer() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(key("www.example."), &answer(&[60]), now);
        assert!(cache.get(&key("WWW.Example."), now).is_some(), "case is none of a name's");
        let mut other_type = key("www.example.");
        other_type.query.set_query_type(RecordType::AAAA);
        let others = [
            key("www2.example."),
            other_type,
            Key { dnssec: true, ..key("www.example.") },
            Key { checking_disabled: true, ..key("www.example.") },
            Key { servers: vec!["192.0.2.54".parse().unwrap()], ..key("www.example.") },
            Key { servers: Vec::new(), ..key("www.example.") },
        ];
        for other in others {
            assert!(cache.get(&other, now).is_none(), "{other:?}");
        }
    }

    #[test]
    fn what_was_not_asked_for_the_longest_makes_room_and_what_is_too_large_is_not_kept() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let numbered = |number: usize| key(&format!("n{number}.example."));
        for number in 0..MOST.get() {
            cache.put(numbered(number), &answer(&[60]), now);
        }
        assert!(cache.get(&numbered(0), now).is_some());
        cache.put(numbered(MOST.get()), &answer(&[60]), now);
        assert_eq!(cache.entries.len(), MOST.get());
        assert!(cache.get(&numbered(0), now).is_some(), "it was asked for just now");
        assert!(cache.get(&numbered(1), now).is_none(), "it was not");
        assert_eq!(kept(&Reply { octets: LARGEST, ..answer(&[60]) }), 60);
        assert_eq!(kept(&Reply { octets: LARGEST + 1, ..answer(&[60]) }), 0);
    }
}
