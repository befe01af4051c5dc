//! What the kernel's verifier says of each program, held against what it said before.
//!
//! `budgets.txt` has a row per kernel and program. A program that grows past its budget on one kernel may be refused by
//! the next older one, so growth is a visible change of that file: `cargo xtask test --bless`.

use std::env;
use std::fmt;

use nix::sys::utsname::uname;
use tests::process::measured;
use tests::program::verified_instructions;

const FILE: &str = include_str!("budgets.txt");

/// One row: `kernel program verified budget`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    kernel: String,
    program: String,
    budget: u32,
}

/// Why a program fails.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Excess {
    /// It has no row of any kernel.
    Unknown { program: String },
    /// It has outgrown its row.
    Grown { program: String, verified: u32, row: Row },
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { program } => {
                write!(f, "{program} is not in budgets.txt: bless it (cargo xtask test --bless)")
            }
            Self::Grown { program, verified, row } => write!(
                f,
                "{program}: {verified} instructions verified, {} allowed by the row of kernel {}: make it smaller, or \
                 bless it (cargo xtask test --bless)",
                row.budget, row.kernel
            ),
        }
    }
}

fn parse(text: &str) -> Vec<Row> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [kernel, program, verified, budget] = columns[..] else {
        panic!("budgets.txt: four columns, not {line:?}")
    };
    let number =
        |text: &str| text.parse().unwrap_or_else(|e| panic!("budgets.txt: {text:?} in {line:?}: {e}"));
    let (verified, budget): (u32, u32) = (number(verified), number(budget));
    assert!(verified <= budget, "budgets.txt: more verified than allowed in {line:?}");
    Row { kernel: kernel.to_owned(), program: program.to_owned(), budget }
}

/// The row that a program is held against: that of its kernel, else the largest of any kernel.
fn held_against<'a>(rows: &'a [Row], kernel: &str, program: &str) -> Option<&'a Row> {
    let of_program = || rows.iter().filter(|row| row.program == program);
    let own = of_program().find(|row| row.kernel == kernel);
    own.or_else(|| of_program().max_by_key(|row| row.budget))
}

fn judge(rows: &[Row], kernel: &str, program: &str, verified: u32) -> Result<(), Excess> {
    let program = program.to_owned();
    match held_against(rows, kernel, &program) {
        None => Err(Excess::Unknown { program }),
        Some(row) if verified > row.budget => Err(Excess::Grown { program, verified, row: row.clone() }),
        Some(_) => Ok(()),
    }
}

/// `6.1` out of `6.1.0-56-cloud-amd64`.
fn major_minor(release: &str) -> String {
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

#[test]
fn no_program_outgrows_its_budget() {
    let (rows, blessing) = (parse(FILE), env::var_os("NETDP_BLESS").is_some_and(|value| value == "1"));
    let kernel = major_minor(&uname().unwrap().release().to_string_lossy());
    if !rows.iter().any(|row| row.kernel == kernel) {
        measured(&format!("no budgets of kernel {kernel}: the largest of any kernel hold"));
    }
    let mut failures = Vec::new();
    for (program, verdict) in verified_instructions() {
        match verdict {
            Err(refusal) => failures.push(format!("{program}: {refusal}")),
            Ok(verified) => {
                measured(&format!("verified {kernel} {program} {verified}"));
                let excess = judge(&rows, &kernel, &program, verified).err();
                failures.extend(excess.filter(|_| !blessing).map(|excess| excess.to_string()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const SAMPLE: &str = "# kernel program verified budget\n6.1 a 100 200\n6.12 a 150 300\n\n6.12 b 20 100\n";

#[test]
fn program_that_grew_past_the_row_of_its_kernel_fails() {
    let rows = parse(SAMPLE);
    assert_eq!(judge(&rows, "6.1", "a", 200), Ok(()));
    let excess = judge(&rows, "6.1", "a", 201).unwrap_err().to_string();
    assert!(
        excess.contains("a: 201 instructions verified, 200 allowed by the row of kernel 6.1"),
        "{excess}"
    );
    assert_eq!(judge(&rows, "6.12", "a", 201), Ok(()), "another kernel has a row of its own");
}

#[test]
fn program_without_a_row_is_to_be_blessed() {
    let excess = judge(&parse(SAMPLE), "6.1", "new", 1).unwrap_err().to_string();
    assert!(excess.contains("new is not in budgets.txt") && excess.contains("--bless"), "{excess}");
}

#[test]
fn kernel_without_rows_is_held_against_the_largest() {
    let rows = parse(SAMPLE);
    assert_eq!(judge(&rows, "7.0", "a", 300), Ok(()));
    assert_eq!(
        judge(&rows, "7.0", "a", 301),
        Err(Excess::Grown { program: "a".to_owned(), verified: 301, row: rows[1].clone() })
    );
    assert!(
        judge(&rows, "6.1", "b", 101).is_err(),
        "a row of this kernel for another program is none for this"
    );
}

#[test]
fn kernels_are_known_by_the_first_two_numbers() {
    for (release, short) in
        [("6.1.0-56-cloud-amd64", "6.1"), ("6.12.117+deb12-cloud-amd64", "6.12"), ("6.18-rc1", "6.18")]
    {
        assert_eq!(major_minor(release), short);
    }
}
