//! How large the programs are.

use aya::programs::{Program, ProgramInfo};
use netdp_common::names;
use serde_json::{Value, json};
use tests::program::{Machine, PROGRAMS};

use super::stack;

/// What the kernel says of a loaded program, its functions included.
pub(crate) struct Size {
    pub(crate) name: &'static str,
    /// Instructions that the verifier walked through.
    pub(crate) verified: u32,
    /// Instructions as the verifier left them.
    pub(crate) translated: u32,
    /// Bytes of machine code.
    pub(crate) machine_code: u32,
    /// Bytes of the deepest chain of calls.
    pub(crate) stack: u32,
}

/// Bytes of an instruction.
const INSTRUCTION: u32 = 8;

impl Size {
    fn of(name: &'static str, program: &Program) -> Self {
        let info = info(program);
        Self {
            name,
            verified: info.verified_instruction_count().unwrap(),
            translated: info.size_translated().unwrap() / INSTRUCTION,
            machine_code: info.size_jitted(),
            stack: stack::depth(info.id()),
        }
    }

    pub(crate) fn document(&self) -> Value {
        let Self { name, verified, translated, machine_code, stack } = self;
        json!({ "program": name, "verified": verified, "translated": translated, "machine_code": machine_code, "stack": stack })
    }
}

/// Of every program that sees packets.
pub(crate) fn sizes(machine: &mut Machine) -> Vec<Size> {
    let programs = PROGRAMS.into_iter().chain([names::PREFILTER]);
    programs.map(|name| Size::of(name, machine.loaded(name))).collect()
}

fn info(program: &Program) -> ProgramInfo {
    match program {
        Program::SchedClassifier(program) => program.info().unwrap(),
        Program::Xdp(program) => program.info().unwrap(),
        other => panic!("a program that sees no packets: {other:?}"),
    }
}
