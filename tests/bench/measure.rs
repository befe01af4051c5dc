//! One measurement: one kind of traffic, on one way of one arm, with the proof that it went there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tests::namespace::Namespace;

use crate::arm::{Arm, Way};
use crate::counter::{Growth, Watch};
use crate::load::Processors;
use crate::options::Kind;
use crate::unit::Unit;
use crate::{http, interrupt, iperf, latency, load, machine, rate};

/// How long one takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
}

/// What one takes beside the traffic: to read the counters before and after it, and to start a client.
const BESIDE: Duration = Duration::from_millis(80);
/// How often a measurement of the whole machine may fail before it is given up: in the meantime others may have ended.
const TRIES: u16 = 3;

/// 16 Gbit/s: between what the slow ways and the fast ones carry.
const BYTES_PER_MILLISECOND: u128 = 2_000_000;

/// What came out.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// In the kind's unit.
    pub(crate) value: f64,
    /// How many packets it took at least.
    pub(crate) packets: u64,
    /// What the same packets say of other kinds.
    pub(crate) others: Vec<(Kind, f64)>,
    /// What else is worth being kept, by name.
    pub(crate) details: Vec<(&'static str, f64)>,
}

impl Measured {
    pub(crate) fn of(value: f64, packets: u64) -> Self {
        Self { value, packets, others: Vec::new(), details: Vec::new() }
    }

    pub(crate) fn saying(mut self, kind: Kind, value: f64) -> Self {
        self.others.push((kind, value));
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.details.push((name, value));
        self
    }
}

/// Why there is no number.
pub(crate) enum Failure {
    /// Something between the ends did not work.
    Broken(String),
    /// Something else had the processors, which are what was to be measured.
    Disturbed(String),
    /// There was traffic, but not where it should have been: no number of this run can be trusted.
    Unproved(String),
}

impl Length {
    /// For iperf3, which counts in seconds; less than one is a number of bytes that takes about as long.
    pub(crate) fn of_stream(self) -> [String; 2] {
        if self.time < Duration::from_secs(1) {
            ["--bytes".to_owned(), (self.time.as_millis() * BYTES_PER_MILLISECOND).to_string()]
        } else {
            ["--time".to_owned(), self.time.as_secs().to_string()]
        }
    }
}

impl Kind {
    /// Whether both ends, and all that is between, share one processor.
    pub(crate) fn is_on_one_processor(self) -> bool {
        matches!(self, Self::TcpRr | Self::UdpRr | Self::TcpCrr)
    }

    /// Whether it measures all processors, so that all that runs at the same time falls on it.
    fn is_of_whole_machine(self) -> bool {
        self == Self::UdpRate
    }

    /// How long one measurement takes, about.
    pub(crate) fn takes(self, length: Length) -> Duration {
        let Length { warm_up, time } = length;
        BESIDE
            + match self {
                Self::UdpRate => machine::GLANCE + warm_up + time * rate::LONGER + rate::DRAIN * 2,
                Self::Http => http::duration(length),
                _ if self.is_stream() => time,
                _ => warm_up + time,
            }
    }

    fn is_stream(self) -> bool {
        matches!(self, Self::TcpStream | Self::TcpStreamReverse | Self::TcpStreamParallel)
    }

    /// What its numbers are.
    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::TcpRr | Self::UdpRr | Self::TcpCrr | Self::TcpRrFree | Self::TcpCrrFree | Self::Http => {
                Unit::PerSecond
            }
            Self::TcpStream | Self::TcpStreamReverse | Self::TcpStreamParallel => Unit::Gigabits,
            Self::UdpRate => Unit::NanosecondsPerPacket,
            Self::LatencyP50 | Self::LatencyP99 | Self::LatencyP999 => Unit::Microseconds,
        }
    }

    /// Kinds of one measurement have the same, which is one of them.
    pub(crate) fn measurement(self) -> Self {
        if matches!(self, Self::LatencyP99 | Self::LatencyP999) { Self::LatencyP50 } else { self }
    }

    fn run(self, ns: &Namespace, way: &Way, length: Length) -> Result<Measured, String> {
        let text = |error: std::io::Error| error.to_string();
        match self {
            Self::TcpRr => load::tcp_rr(ns, way.to, length, Processors::One).map_err(text),
            Self::UdpRr => load::udp_rr(ns, way.to, length).map_err(text),
            Self::TcpCrr => load::tcp_crr(ns, way.to, length, Processors::One).map_err(text),
            Self::TcpRrFree => load::tcp_rr(ns, way.to, length, Processors::All).map_err(text),
            Self::TcpCrrFree => load::tcp_crr(ns, way.to, length, Processors::All).map_err(text),
            Self::TcpStream => iperf::stream(ns, way.to, length, &[]),
            Self::TcpStreamReverse => iperf::stream(ns, way.to, length, &["--reverse"]),
            Self::TcpStreamParallel => iperf::stream(ns, way.to, length, &["--parallel", "4"]),
            Self::UdpRate => rate::udp(ns, way.to, length).map_err(text),
            Self::Http => http::requests(ns, way.to, length),
            Self::LatencyP50 | Self::LatencyP99 | Self::LatencyP999 => {
                latency::at_fixed_rate(ns, way.to, length).map_err(text)
            }
        }
    }
}

/// Measures once, for all kinds that this kind is measured with.
pub(crate) fn once(
    arm: &dyn Arm,
    way: &Way,
    kind: Kind,
    length: Length,
) -> Result<(Measured, Vec<Growth>), Failure> {
    if !kind.is_of_whole_machine() {
        return once_tried(arm, way, kind, length);
    }
    let (mut disturbed, mut broken) = (None, String::new());
    for tried in 1..=TRIES {
        if let Some(others) = machine::others() {
            disturbed = Some(others);
            continue;
        }
        match once_tried(arm, way, kind, length) {
            Err(Failure::Broken(why)) if !interrupt::came() => broken = why,
            other => {
                return other.map(|(measured, proof)| (measured.with("tries", f64::from(tried)), proof));
            }
        }
    }
    Err(disturbed.or_else(machine::others).map_or(Failure::Broken(broken), Failure::Disturbed))
}

fn once_tried(
    arm: &dyn Arm,
    way: &Way,
    kind: Kind,
    length: Length,
) -> Result<(Measured, Vec<Growth>), Failure> {
    let measure = || {
        arm.before(kind);
        let watch = Watch::begin(arm, way);
        let measured = kind.run(arm.place(way.from), way, length)?;
        let proof = watch.end(measured.packets);
        Ok((measured, proof))
    };
    let (measured, proof) = attempt(measure).and_then(|result| result).map_err(Failure::Broken)?;
    Ok((measured, proof.map_err(Failure::Unproved)?))
}

/// The harness ends a test by a panic; here that ends one arm, and what it said is why.
pub(crate) fn attempt<R>(job: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "it panicked without a word".to_owned())
    })
}
