//! Why the kernel refuses a program, out of the errno and the verifier's log.
//!
//! The log is written for the authors of programs and may have megabytes. An operator needs one line: what this kernel
//! cannot do.

use std::io;

use aya::programs::ProgramError;
use aya::sys::BpfHelper;

/// Why a program cannot be loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The verifier has walked through as many instructions as it ever does, or was given more than it takes.
    #[error("too large for the kernel's verifier{}", gave_up(*processed))]
    TooLarge {
        /// How many it has walked through; `None` when it did not begin.
        processed: Option<u64>,
    },
    /// More branches are waiting to be looked at than the verifier remembers.
    #[error("too branched for the kernel's verifier: it gave up with {jumps} branches left to look at")]
    TooBranched {
        /// How many were waiting.
        jumps: u64,
    },
    /// The kernel has no such helper, or not for this kind of program.
    #[error("needs the helper {} (number {number}), which this kernel does not have", known(name.as_deref()))]
    UnknownHelper {
        /// Its number in `linux/bpf.h`.
        number: u32,
        /// Its name there, when that number is known here.
        name: Option<String>,
    },
    /// A chain of calls needs more stack than the kernel has for it.
    #[error("needs {bytes} bytes of stack, 512 are allowed")]
    Stack {
        /// How much it needs.
        bytes: u64,
    },
    /// This process may not load programs, or nobody may.
    #[error("loading programs is not permitted: run netdp as root (CAP_BPF, CAP_NET_ADMIN)")]
    Denied,
    /// All else: the last line of the log that says something, or the errno where there is no log.
    #[error("{line}")]
    Other {
        /// That line.
        line: String,
    },
}

/// Text that the verifier writes before a helper's name and number, in the order of the kernels that write it: for a
/// number that it does not know, for a helper of other kinds of programs up to 6.8, and for one since then.
const UNKNOWN_HELPER: [&str; 3] =
    ["invalid func ", "unknown func ", "program of this type cannot use helper "];

/// Beginnings of lines that tell how verifying went, not what was wrong.
const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];

/// Says why a program was refused.
pub fn refusal(error: &ProgramError) -> Refusal {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => classify(io_error, &verifier_log.to_string()),
        other => Refusal::Other { line: chain(other) },
    }
}

impl Refusal {
    /// Another kernel, or another user, could run the program: nothing is wrong with netdp.
    pub fn is_lack(&self) -> bool {
        match self {
            Self::TooLarge { .. }
            | Self::TooBranched { .. }
            | Self::UnknownHelper { .. }
            | Self::Stack { .. }
            | Self::Denied => true,
            Self::Other { .. } => false,
        }
    }
}

fn classify(io_error: &io::Error, log: &str) -> Refusal {
    let known = log.lines().rev().find_map(from_line);
    known.unwrap_or_else(|| match (io_error.raw_os_error(), last_line(log)) {
        (Some(libc::E2BIG), _) => Refusal::TooLarge { processed: None },
        (Some(libc::EPERM), None) => Refusal::Denied,
        // Kernels before 6.4 keep the beginning of a log that is too long, which says nothing of the end.
        (Some(libc::ENOSPC), _) => Refusal::Other {
            line: "the verifier's log does not fit: see it without the debug level".to_owned(),
        },
        (_, Some(line)) => Refusal::Other { line: line.to_owned() },
        (_, None) => Refusal::Other { line: io_error.to_string() },
    })
}

/// What one line of the log says, if it says why.
fn from_line(line: &str) -> Option<Refusal> {
    if let Some(rest) = line.strip_prefix("BPF program is too large. Processed ") {
        return Some(Refusal::TooLarge { processed: Some(number(rest)?) });
    }
    if let Some(rest) = line.strip_prefix("The sequence of ") {
        return Some(Refusal::TooBranched { jumps: number(rest)? });
    }
    if line.starts_with("combined stack size of ") {
        let (_, rest) = line.split_once(" calls is ")?;
        return Some(Refusal::Stack { bytes: number(rest)? });
    }
    let helper = UNKNOWN_HELPER.iter().find_map(|before| line.strip_prefix(before))?;
    let (name, number) = helper.trim_end().rsplit_once('#')?;
    let number = number.parse().ok()?;
    let name = if name == "unknown" { helper_name(number) } else { Some(name.to_owned()) };
    Some(Refusal::UnknownHelper { number, name })
}

/// The number that a text begins with.
fn number(text: &str) -> Option<u64> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn last_line(log: &str) -> Option<&str> {
    let is_statistic = |line: &str| STATISTICS.iter().any(|statistic| line.starts_with(statistic));
    log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !is_statistic(line))
}

/// A helper's name by its number; `None` for one that is younger than aya's copy of `linux/bpf.h`.
fn helper_name(number: u32) -> Option<String> {
    if number >= BpfHelper::__BPF_FUNC_MAX_ID as u32 {
        return None;
    }
    // SAFETY: the enumeration is `repr(u32)`, and the macro of `linux/bpf.h` that it is made from numbers the helpers
    // one by one from 0 up to `__BPF_FUNC_MAX_ID`, so every number below that is a value of it.
    Some(name_of(unsafe { std::mem::transmute::<u32, BpfHelper>(number) }))
}

/// A helper's name as programs call it.
pub(crate) fn name_of(helper: BpfHelper) -> String {
    format!("{helper:?}").replacen("BPF_FUNC_", "bpf_", 1)
}

fn gave_up(processed: Option<u64>) -> String {
    processed.map_or_else(String::new, |count| format!(": it gave up after {count} instructions"))
}

fn known(name: Option<&str>) -> &str {
    name.unwrap_or("of a newer kernel")
}

/// An error with all its causes, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32, log: &str) -> Refusal {
        classify(&io::Error::from_raw_os_error(errno), log)
    }

    #[test]
    fn a_program_that_is_too_large_is_told_from_other_refusals() {
        let log = "BPF program is too large. Processed 1000001 insn\nverification time 1843925 usec\nstack depth 0\n\
                   processed 1000001 insns (limit 1000000) max_states_per_insn 4 total_states 9901 peak_states 9901 \
                   mark_read 1\n";
        let refusal = refused(libc::E2BIG, log);
        assert_eq!(refusal, Refusal::TooLarge { processed: Some(1_000_001) });
        assert_eq!(
            refusal.to_string(),
            "too large for the kernel's verifier: it gave up after 1000001 instructions"
        );
        assert_eq!(refused(libc::E2BIG, "").to_string(), "too large for the kernel's verifier");
        let branched =
            refused(libc::E2BIG, "The sequence of 8193 jumps is too complex.\nprocessed 84 insns\n");
        assert_eq!(branched, Refusal::TooBranched { jumps: 8193 });
    }

    #[test]
    fn a_helper_that_lacks_has_its_name_on_every_kernel() {
        // 6.1 for a number that it does not know, 6.1 for a kind of program that may not call it, 6.12 for the same.
        for (log, number, name) in [
            ("invalid func unknown#210\nprocessed 3 insns (limit 1000000)\n", 210, "bpf_cgrp_storage_get"),
            ("unknown func bpf_set_retval#187\nprocessed 1 insns\n", 187, "bpf_set_retval"),
            ("program of this type cannot use helper bpf_bind#64\n", 64, "bpf_bind"),
        ] {
            let refusal = refused(libc::EINVAL, log);
            assert_eq!(refusal, Refusal::UnknownHelper { number, name: Some(name.to_owned()) });
            assert!(refusal.is_lack());
        }
    }

    #[test]
    fn a_helper_of_a_newer_kernel_has_no_name() {
        let refusal = refused(libc::EINVAL, "invalid func unknown#9999\n");
        assert_eq!(refusal, Refusal::UnknownHelper { number: 9999, name: None });
        assert_eq!(
            refusal.to_string(),
            "needs the helper of a newer kernel (number 9999), which this kernel does not have"
        );
    }

    #[test]
    fn every_number_below_the_limit_has_its_own_name() {
        let limit = BpfHelper::__BPF_FUNC_MAX_ID as u32;
        let names: std::collections::BTreeSet<_> = (0..limit).filter_map(helper_name).collect();
        assert_eq!(names.len(), usize::try_from(limit).unwrap_or_default());
        assert_eq!(helper_name(BpfHelper::BPF_FUNC_loop as u32).as_deref(), Some("bpf_loop"));
    }

    #[test]
    fn too_much_stack_is_counted() {
        let log = "combined stack size of 5 calls is 544. Too large\nprocessed 61 insns (limit 1000000)\n";
        let refusal = refused(libc::EACCES, log);
        assert_eq!(refusal.to_string(), "needs 544 bytes of stack, 512 are allowed");
    }

    #[test]
    fn all_else_is_one_line_of_the_log() {
        let log = "0: R1=ctx() R10=fp0\n0: (61) r0 = *(u32 *)(r1 +400)\ninvalid bpf_context access off=400 size=4\n\
                   verification time 80 usec\nstack depth 0\nprocessed 1 insns (limit 1000000)\n";
        let refusal = refused(libc::EACCES, log);
        assert_eq!(refusal.to_string(), "invalid bpf_context access off=400 size=4");
        assert!(!refusal.is_lack());
    }

    #[test]
    fn without_a_log_the_errno_speaks() {
        assert_eq!(refused(libc::EPERM, ""), Refusal::Denied);
        assert!(refused(libc::EINVAL, "").to_string().starts_with("Invalid argument"));
        // With a log EPERM is the verifier's.
        assert_eq!(
            refused(libc::EPERM, "R0 leaks addr\n"),
            Refusal::Other { line: "R0 leaks addr".to_owned() }
        );
    }
}
