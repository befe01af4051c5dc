//! One measurement: one kind of traffic, on one way of one arm, with the proof that it went there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tests::namespace::Namespace;

use crate::arm::{Arm, Way};
use crate::counter::{Growth, Watch};
use crate::options::Kind;
use crate::{iperf, load};

/// How long one takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
}

/// 16 Gbit/s: between what the slow ways and the fast ones carry.
const BYTES_PER_MILLISECOND: u128 = 2_000_000;

/// What came out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// In the kind's unit.
    pub(crate) value: f64,
    /// How many packets it took at least.
    pub(crate) packets: u64,
}

/// Why there is no number.
pub(crate) enum Failure {
    /// Something between the ends did not work.
    Broken(String),
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

    /// What its numbers are.
    pub(crate) fn unit(self) -> &'static str {
        if self.is_on_one_processor() { "1/s" } else { "Gbit/s" }
    }

    fn run(self, ns: &Namespace, way: &Way, length: Length) -> Result<Measured, String> {
        let text = |error: std::io::Error| error.to_string();
        match self {
            Self::TcpRr => load::tcp_rr(ns, way.to, length).map_err(text),
            Self::UdpRr => load::udp_rr(ns, way.to, length).map_err(text),
            Self::TcpCrr => load::tcp_crr(ns, way.to, length).map_err(text),
            Self::TcpStream => iperf::stream(ns, way.to, length, &[]),
            Self::TcpStreamReverse => iperf::stream(ns, way.to, length, &["--reverse"]),
            Self::TcpStreamParallel => iperf::stream(ns, way.to, length, &["--parallel", "4"]),
        }
    }
}

/// Measures once.
pub(crate) fn once(
    arm: &dyn Arm,
    way: &Way,
    kind: Kind,
    length: Length,
) -> Result<(f64, Vec<Growth>), Failure> {
    let measure = || {
        arm.before(kind);
        let watch = Watch::begin(arm, way);
        let measured = kind.run(arm.place(way.from), way, length)?;
        Ok((measured.value, watch.end(measured.packets)))
    };
    let (value, proof) = attempt(measure).and_then(|result| result).map_err(Failure::Broken)?;
    Ok((value, proof.map_err(Failure::Unproved)?))
}

/// The harness ends a test by a panic; here that ends one arm, and what it said is why.
pub(crate) fn attempt<R>(job: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "it panicked without a word".to_owned())
    })
}
