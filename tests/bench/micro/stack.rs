//! How much stack a program takes, read from its translated instructions as bpftool prints them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use tests::process::run;

/// What the kernel's compiler rounds each function's part up to.
const ALIGNMENT: u32 = 16;

/// A function of a program: what it takes, and where those begin that it calls.
#[derive(Debug, Default, PartialEq, Eq)]
struct Function {
    bytes: u32,
    calls: BTreeSet<u32>,
}

/// Bytes of the deepest chain of calls of the program with this id.
pub(crate) fn depth(id: u32) -> u32 {
    let mut dump = Command::new("bpftool");
    dump.args(["prog", "dump", "xlated", "id", &id.to_string()]);
    depth_of(&run(&mut dump).ok().stdout)
}

fn depth_of(dump: &str) -> u32 {
    let functions = functions(dump);
    let first = functions.keys().next().copied();
    first.map_or(0, |first| below(&functions, first))
}

/// The verifier lets no function call itself.
fn below(functions: &BTreeMap<u32, Function>, at: u32) -> u32 {
    let Some(function) = functions.get(&at) else { return 0 };
    let deepest = function.calls.iter().map(|called| below(functions, *called)).max();
    function.bytes.max(1).next_multiple_of(ALIGNMENT) + deepest.unwrap_or(0)
}

/// The functions, by the number of their first instruction.
fn functions(dump: &str) -> BTreeMap<u32, Function> {
    let mut functions = BTreeMap::new();
    let (mut begins, mut at, mut before) = (true, 0, "");
    for line in dump.lines().map(str::trim) {
        let Some((number, instruction)) = instruction(line) else {
            begins |= line.ends_with(':') && !line.starts_with(';');
            continue;
        };
        if begins {
            (begins, at) = (false, number);
        }
        let function: &mut Function = functions.entry(at).or_default();
        function.bytes = function.bytes.max(reach(instruction, before));
        function.calls.extend(called(instruction, number));
        before = instruction;
    }
    functions
}

/// `12: (63) *(u32 *)(r10 -264) = r7`.
fn instruction(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.split_once(": (")?;
    Some((number.parse().ok()?, rest.split_once(") ")?.1))
}

/// How far below the frame's end it reaches: by an access, or by an address made of the register before.
fn reach(instruction: &str, before: &str) -> u32 {
    let number = |text: &str| -> u32 {
        let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse().unwrap_or(0)
    };
    if let Some((_, offset)) = instruction.split_once("(r10 -") {
        return number(offset);
    }
    let address = before.strip_suffix(" = r10").and_then(|register| instruction.strip_prefix(register));
    address.and_then(|rest| rest.strip_prefix(" += -")).map_or(0, number)
}

/// `call pc+12#name`, or a callback `r2 = subprog[+12]`.
fn called(instruction: &str, number: u32) -> impl Iterator<Item = u32> {
    let call = instruction.split_once("call pc+").or_else(|| instruction.split_once("subprog[+"));
    let distance = call.and_then(|(_, rest)| rest.split(['#', ']']).next()?.parse::<u32>().ok());
    distance.map(|distance| number + distance + 1).into_iter()
}
