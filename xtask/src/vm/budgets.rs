//! `--bless`: what the verifier walked through, written down with what is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The committed file.
const FILE: &str = "tests/datapath/budgets.txt";
/// What the test measures begins with this word.
const WORD: &str = "verified ";

/// What one kernel's verifier walked through for one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The first two numbers of its release.
    pub(crate) kernel: String,
    pub(crate) program: String,
    pub(crate) instructions: u64,
}

impl Verified {
    /// `verified 6.1 from_container 24228`, as the test measures it.
    pub(crate) fn parse(measured: &str) -> Option<Self> {
        let mut words = measured.strip_prefix(WORD)?.split_whitespace();
        let (kernel, program, number) = (words.next()?, words.next()?, words.next()?);
        Some(Self { kernel: kernel.into(), program: program.into(), instructions: number.parse().ok()? })
    }

    /// A tenth more, because compilers differ, up to the next hundred.
    fn budget(&self) -> u64 {
        (self.instructions * 11).div_ceil(10).next_multiple_of(100)
    }
}

/// Rewrites the rows of what was measured, and leaves the others: a run may have measured one program only. Rows of a
/// program that is no more are for you to remove.
pub(crate) fn bless(workspace: &Workspace, measured: &[Verified]) -> Result<()> {
    let path = workspace.root.join(FILE);
    if measured.is_empty() {
        println!("bless: nothing was verified, and {FILE} stays as it is");
        return Ok(());
    }
    let old = read(&path)?;
    let new = rewritten(&old, measured);
    if new == old {
        println!("bless: {FILE} is unchanged");
        return Ok(());
    }
    fs::write(&path, new).with_context(|| format!("cannot write {}", path.display()))?;
    println!("bless: {FILE} is rewritten; look at it with git diff");
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The file with its comments, and rows by kernel and program.
fn rewritten(old: &str, measured: &[Verified]) -> String {
    let mut rows: BTreeMap<(Vec<u32>, String), String> = BTreeMap::new();
    for line in old.lines().filter(is_row) {
        let mut words = line.split_whitespace();
        let (kernel, program) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        rows.insert((numbers(kernel), program.to_owned()), line.to_owned());
    }
    for verified in measured {
        let Verified { kernel, program, instructions } = verified;
        let row = format!("{kernel} {program} {instructions} {}", verified.budget());
        rows.insert((numbers(kernel), program.clone()), row);
    }
    let comments = old.lines().filter(|line| !is_row(line)).map(str::to_owned);
    comments.chain(rows.into_values()).map(|line| line + "\n").collect()
}

/// The names of all programs.
pub(crate) fn programs(workspace: &Workspace) -> Result<BTreeSet<String>> {
    Ok(programs_in(&read(&workspace.root.join(FILE))?))
}

fn programs_in(text: &str) -> BTreeSet<String> {
    let program = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    text.lines().filter(is_row).filter_map(program).collect()
}

fn is_row(line: &&str) -> bool {
    !line.starts_with('#') && !line.trim().is_empty()
}

/// 6.12 is after 6.1 and before 6.18.
fn numbers(kernel: &str) -> Vec<u32> {
    kernel.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(kernel: &str, program: &str, instructions: u64) -> Verified {
        Verified { kernel: kernel.into(), program: program.into(), instructions }
    }

    #[test]
    fn measured_line_is_read_and_another_is_not() {
        let read = Verified::parse("verified 6.1 from_container 24228");
        assert_eq!(read, Some(verified("6.1", "from_container", 24228)));
        for line in ["verified 6.1 from_container", "verified 6.1 x many", "down: 5 ms"] {
            assert_eq!(Verified::parse(line), None, "{line}");
        }
    }

    #[test]
    fn budget_is_a_tenth_more_up_to_the_next_hundred() {
        assert_eq!(verified("", "", 24228).budget(), 26700);
        assert_eq!(verified("", "", 1000).budget(), 1100);
        assert_eq!(verified("", "", 1001).budget(), 1200);
    }

    #[test]
    fn rows_that_were_not_measured_and_comments_stay() {
        let old = "# kernel program\n6.18 a 1 100\n6.1 a 1 100\n6.1 b 5 100\n";
        let new = rewritten(old, &[verified("6.12", "a", 2), verified("6.1", "a", 3)]);
        assert_eq!(new, "# kernel program\n6.1 a 3 100\n6.1 b 5 100\n6.12 a 2 100\n6.18 a 1 100\n");
        assert_eq!(rewritten(&new, &[verified("6.1", "a", 3)]), new);
    }

    #[test]
    fn programs_are_those_of_all_kernels_and_not_of_the_comments() {
        let text = "# kernel program verified budget\n6.18 a 1 100\n\n6.1 a 1 100\n6.1 b 5 100\n";
        assert_eq!(programs_in(text), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }
}
