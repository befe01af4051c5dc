//! Sends frames as fast as the kernel makes them: live frames of `BPF_PROG_TEST_RUN`, into one end of a veth pair.

use aya::maps::Array;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, TestRun, TestRunAttrs, TestRunOptions};
use tests::namespace::Namespace;

use super::object;
use super::runner::Start;
use crate::ending::Ending;

/// Frames that the kernel makes at a time: fewer than a veth's ring has room for, or some would be lost there.
const BATCH: u32 = 64;

/// Frames of one run: some milliseconds, so that what else the processor does spoils few of many runs.
pub(crate) const RUN: u32 = 10_000;

/// The object, loaded.
pub(crate) struct Generator {
    ebpf: Ebpf,
}

impl Generator {
    pub(crate) fn new() -> Result<Self, Ending> {
        let mut ebpf = Ebpf::load(&object::read("micro")?).unwrap();
        for name in ["send", "drop"] {
            xdp(&mut ebpf, name).load().unwrap();
        }
        Ok(Self { ebpf })
    }

    /// Nanoseconds that it takes to make a frame and to send it by this interface, or to make it only; in each of so many
    /// runs of [`RUN`] frames.
    pub(crate) fn send(&mut self, ns: &Namespace, by: Option<u32>, frame: &[u8], runs: usize) -> Vec<f64> {
        if let Some(ifindex) = by {
            let mut rows = Array::<_, Start>::try_from(self.ebpf.map_mut("START").unwrap()).unwrap();
            rows.set(0, Start::sending(ifindex), 0).unwrap();
        }
        let program = xdp(&mut self.ebpf, if by.is_some() { "send" } else { "drop" });
        let run = |_| {
            let mut options = TestRunOptions::new();
            options.data_in = Some(frame);
            options.repeat = RUN;
            options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
            // By the kernel's clock: beside the frames, a run changes the kernel's code for XDP twice, which takes tens of
            // milliseconds.
            program.test_run(options).unwrap().duration.as_secs_f64() * 1e9
        };
        ns.enter(|| (0..runs).map(run).collect())
    }

    /// Attaches the program that drops everything to an interface.
    pub(crate) fn drop_at(&mut self, ns: &Namespace, interface: &str) {
        let program = xdp(&mut self.ebpf, "drop");
        ns.enter(|| program.attach(interface, XdpMode::Driver)).unwrap();
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    ebpf.program_mut(name).unwrap().try_into().unwrap()
}
