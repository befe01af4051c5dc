//! What other servers have answered, for as long as they said that it is good.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{RData, Record};
use lru::LruCache;

/// Answers that are kept; of an answer's usual size that is some megabytes.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
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
        if !good.is_zero() {
            self.entries.put(key, (now, good, reply.clone()));
        }
    }
}

/// How long an answer is good.
fn lifetime(reply: &Reply) -> Duration {
    let seconds = |ttl: u32| Duration::from_secs(ttl.into());
    match reply.code {
        ResponseCode::NoError if !reply.answers.is_empty() => {
            let shortest = reply.answers.iter().map(|record| record.ttl).min().unwrap_or(0);
            seconds(shortest).min(LONGEST)
        }
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let until = reply.authorities.iter().filter_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            });
            seconds(until.min().unwrap_or(0)).min(LONGEST_NEGATIVE)
        }
        _ => Duration::ZERO,
    }
}
