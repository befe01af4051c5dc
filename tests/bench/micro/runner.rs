//! Runs a program many times, each time with the frame as it was (`netdp-ebpf/examples/micro.rs`).

use aya::maps::{Array, ProgramArray};
use aya::programs::{Program, ProgramFd, SchedClassifier, Xdp};
use aya::{Ebpf, Pod, TestRun, TestRunOptions, TestRunResult};
use tests::namespace::Namespace;
use tests::program::xdp_verdict;

use super::object;
use crate::ending::Ending;

/// Bytes of a frame that are restored; it must have as many.
pub(crate) const RESTORED: usize = 128;
const START: &str = "START";
const NOTHING: &str = "nothing";
const NOTHING_XDP: &str = "nothing_xdp";
const AGAIN: &str = "again";
const AGAIN_XDP: &str = "again_xdp";
const ANOTHER: &str = "another";
/// What the runner returns when it could not call.
const LOST: i32 = 99;
/// The slots of the maps of programs.
const SLOT_NOTHING: u32 = 0;
const SLOT_PROGRAM: u32 = 1;

/// How each run begins: `Start` of the object.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Start {
    bytes: [u8; RESTORED],
    target: u32,
    kind: u32,
    port_at: u32,
    port: u32,
}

impl Start {
    /// Frames are sent by this interface.
    pub(crate) fn sending(ifindex: u32) -> Self {
        Self { bytes: [0; RESTORED], target: ifindex, kind: 0, port_at: 0, port: 0 }
    }
}

// SAFETY: bytes and numbers, without padding.
unsafe impl Pod for Start {}

/// Whom the frame is for, as the kernel has marked it (`linux/if_packet.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Host = 0,
    OtherHost = 3,
}

/// What is the same in each run, and what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The same packet.
    Same,
    /// Another port at this offset, from this one on: a new flow each time.
    Another { at: u32, from: u16 },
}

/// Where the program under test is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Classifier,
    Xdp,
}

impl Hook {
    /// What a program of this hook has returned, as a verdict; none when it is of the runner itself, which has failed.
    pub(crate) fn verdict(self, returned: i32) -> Option<i32> {
        match self {
            Self::Classifier if returned == LOST => None,
            Self::Classifier => Some(returned),
            Self::Xdp if returned == 0 => None,
            Self::Xdp => Some(xdp_verdict(returned.cast_unsigned())),
        }
    }
}

/// A frame, and where and how it comes.
pub(crate) struct Given<'a> {
    pub(crate) hook: Hook,
    pub(crate) frame: &'a [u8],
    pub(crate) context: Option<Vec<u8>>,
    pub(crate) kind: Kind,
    pub(crate) again: Again,
}

/// What became of a batch.
pub(crate) struct Ran {
    /// What the program returned in the last run.
    pub(crate) returned: i32,
    pub(crate) bytes: Vec<u8>,
    /// Nanoseconds per run, by the kernel's own clock and in whole ones.
    pub(crate) ns: f64,
}

/// The object, loaded.
pub(crate) struct Runner {
    ebpf: Ebpf,
}

impl Runner {
    pub(crate) fn new() -> Result<Self, Ending> {
        let object = object::read("micro")?;
        let mut runner = Self { ebpf: Ebpf::load(&object).unwrap() };
        for (hook, nothing, entries) in
            [(Hook::Classifier, NOTHING, &[AGAIN, ANOTHER][..]), (Hook::Xdp, NOTHING_XDP, &[AGAIN_XDP])]
        {
            for name in entries {
                load(runner.program(name));
            }
            let nothing = runner.program(nothing);
            load(nothing);
            let nothing = nothing.fd().unwrap().try_clone().unwrap();
            runner.put(hook, SLOT_NOTHING, &nothing);
        }
        Ok(runner)
    }

    /// Has a program be the one under test.
    pub(crate) fn aim(&mut self, hook: Hook, program: &ProgramFd) {
        self.put(hook, SLOT_PROGRAM, program);
    }

    /// Runs the program under test so often.
    pub(crate) fn run(&mut self, ns: &Namespace, given: &Given<'_>, times: u32) -> Ran {
        self.batch(ns, given, SLOT_PROGRAM, times)
    }

    /// Runs the one that does nothing so often.
    pub(crate) fn run_nothing(&mut self, ns: &Namespace, given: &Given<'_>, times: u32) -> Ran {
        self.batch(ns, given, SLOT_NOTHING, times)
    }

    fn batch(&mut self, ns: &Namespace, given: &Given<'_>, target: u32, times: u32) -> Ran {
        let (port_at, port) = match given.again {
            Again::Same => (0, 0),
            Again::Another { at, from } => (at, from),
        };
        let bytes = given.frame[..RESTORED].try_into().unwrap();
        let start = Start { bytes, target, kind: given.kind as u32, port_at, port: port.into() };
        let mut rows = Array::<_, Start>::try_from(self.ebpf.map_mut(START).unwrap()).unwrap();
        rows.set(0, start, 0).unwrap();
        match (given.hook, given.again) {
            (Hook::Classifier, Again::Same) => run(ns, self.classifier(AGAIN), given, times),
            (Hook::Classifier, Again::Another { .. }) => run(ns, self.classifier(ANOTHER), given, times),
            (Hook::Xdp, _) => {
                let program: &Xdp = self.ebpf.program(AGAIN_XDP).unwrap().try_into().unwrap();
                run(ns, program, given, times)
            }
        }
    }

    fn put(&mut self, hook: Hook, slot: u32, program: &ProgramFd) {
        let map = if hook == Hook::Xdp { "TARGETS_XDP" } else { "TARGETS" };
        ProgramArray::try_from(self.ebpf.map_mut(map).unwrap()).unwrap().set(slot, program, 0).unwrap();
    }

    fn classifier(&self, name: &str) -> &SchedClassifier {
        self.ebpf.program(name).unwrap().try_into().unwrap()
    }

    fn program(&mut self, name: &str) -> &mut Program {
        self.ebpf.program_mut(name).unwrap()
    }
}

fn load(program: &mut Program) {
    match program {
        Program::SchedClassifier(program) => program.load().unwrap(),
        Program::Xdp(program) => program.load().unwrap(),
        other => panic!("a program of another kind than there are hooks: {other:?}"),
    }
}

/// Has the kernel run a program so often.
pub(crate) fn run<P>(ns: &Namespace, program: &P, given: &Given<'_>, times: u32) -> Ran
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult> + Sync,
{
    let mut bytes = vec![0; given.frame.len() + 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(given.frame);
    options.data_out = Some(&mut bytes);
    options.ctx_in = given.context.as_deref();
    options.repeat = times;
    let result = ns.enter(|| program.test_run(options)).unwrap();
    bytes.truncate(usize::try_from(result.data_size_out).unwrap());
    Ran { returned: result.return_value.cast_signed(), bytes, ns: result.duration.as_secs_f64() * 1e9 }
}
