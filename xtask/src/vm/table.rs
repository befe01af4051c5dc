//! The table at the end: kernels side by side, and this machine's own beside them.

use std::collections::BTreeSet;

use super::budgets::Verified;
use super::chosen::TIERS;
use super::kernel::short;
use super::outcome::{Answers, Results};

/// Width of the first column.
const LABEL: usize = 34;
/// How much of a checksum is shown.
const CHECKSUM: usize = 16;

/// What the table is made of.
pub(crate) struct Table<'a> {
    pub(crate) kernels: &'a [Results],
    /// The names of all programs that there are.
    pub(crate) programs: &'a BTreeSet<String>,
    /// The kernel that runs here, which takes no part in the tests.
    pub(crate) running: (&'a str, &'a Answers),
}

impl Table<'_> {
    /// Prints it.
    pub(crate) fn print(&self) {
        for line in self.lines() {
            println!("{line}");
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut rows = vec![self.title()];
        rows.extend(self.programs());
        rows.extend(TIERS.iter().map(|tier| self.tier(tier)));
        rows.push(self.row("programs attached by", |answers| answers.modes.clone()));
        rows.extend(self.checks());
        rows.push(
            self.row("netdp, SHA-256", |answers| {
                Some(answers.netdp.as_ref()?.chars().take(CHECKSUM).collect())
            }),
        );
        rows.push(self.of_guests("modules that it lacks", |results| list(&results.lacking)));
        rows.push(self.of_guests("warnings of the kernel", |results| results.warnings.len().to_string()));
        rows.push(self.of_guests("tests passed", |results| results.passed().to_string()));
        rows.push(self.of_guests("tests failed", |results| results.failed().to_string()));
        rows.push(self.of_guests("seconds", |results| results.time.as_secs().to_string()));
        aligned(&rows)
    }

    fn title(&self) -> Vec<String> {
        let mut title = self.of_guests("kernel", |results| results.release.clone());
        title.pop();
        title.push(format!("{} (this machine)", self.running.0));
        title
    }

    /// How many programs were loaded, and how many instructions the verifier walked through for each.
    fn programs(&self) -> Vec<Vec<String>> {
        // One that is new has no budget yet.
        let measured = self.kernels.iter().flat_map(|results| programs_of(&results.verified));
        let all: BTreeSet<&str> = self.programs.iter().map(String::as_str).chain(measured).collect();
        let count = |results: &Results| {
            let loaded = || format!("{} of {}", programs_of(&results.verified).len(), all.len());
            if results.programs_tried { loaded() } else { "-".to_owned() }
        };
        let mut rows = vec![self.of_guests("programs loaded", count)];
        if !self.kernels.iter().any(|results| results.programs_tried) {
            return rows;
        }
        for program in &all {
            let label = format!("  {program}, instructions verified");
            rows.push(self.of_guests(&label, |results| {
                let found = results.verified.iter().find(|verified| verified.program == *program);
                found.map_or("-".to_owned(), |verified| verified.instructions.to_string())
            }));
        }
        rows
    }

    fn tier(&self, tier: &str) -> Vec<String> {
        let label = if tier == "datapath" { "packet tests".to_owned() } else { format!("{tier} tests") };
        self.of_guests(&label, |results| match results.tiers.get(tier) {
            Some((passed, all)) => format!("{passed} of {all}"),
            None => "-".to_owned(),
        })
    }

    /// What `netdp check` finds: each row in which kernels differ or one lacks something, and each helper.
    fn checks(&self) -> Vec<Vec<String>> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.answers().flat_map(|answers| &answers.check) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let has = |answers: &Answers, name: &str| {
            answers.check.iter().find(|(row, _)| row == name).map(|(_, ok)| *ok)
        };
        let worth = |name: &&str| {
            name.starts_with("helper ") || !self.answers().all(|answers| has(answers, name) == Some(true))
        };
        let shown = names.iter().filter(|name| worth(name));
        shown
            .map(|name| {
                self.row(name, |answers| {
                    has(answers, name).map(|ok| if ok { "yes" } else { "no" }.to_owned())
                })
            })
            .collect()
    }

    fn answers(&self) -> impl Iterator<Item = &Answers> {
        self.kernels.iter().map(|results| &results.answers).chain([self.running.1])
    }

    fn row(&self, label: &str, of: impl Fn(&Answers) -> Option<String>) -> Vec<String> {
        let cells = self.answers().map(|answers| of(answers).unwrap_or_else(|| "?".to_owned()));
        [label.to_owned()].into_iter().chain(cells).collect()
    }

    /// A row that says nothing of this machine.
    fn of_guests(&self, label: &str, of: impl Fn(&Results) -> String) -> Vec<String> {
        let cells = self.kernels.iter().map(of).chain([String::new()]);
        [label.to_owned()].into_iter().chain(cells).collect()
    }
}

/// What each kernel lacks of what this machine's has, in a line each.
pub(crate) fn lacks(kernels: &[Results], running: &Answers) -> Vec<String> {
    let had: BTreeSet<&str> =
        running.check.iter().filter(|(_, ok)| *ok).map(|(name, _)| name.as_str()).collect();
    // It takes root to ask it.
    let asked = !running.check.is_empty();
    let of = if asked { "of what this machine's kernel has" } else { "of what netdp asks for" };
    let line = |results: &Results| {
        let lacks = |name: &str, ok: bool| !ok && (!asked || had.contains(name));
        let rows = results.answers.check.iter().filter(|(name, ok)| lacks(name, *ok));
        let names: Vec<String> = rows.map(|(name, _)| name.clone()).collect();
        format!("{} lacks, {of}: {}", short(&results.release), list(&names))
    };
    kernels.iter().filter(|results| !results.answers.check.is_empty()).map(line).collect()
}

fn programs_of(verified: &[Verified]) -> BTreeSet<&str> {
    verified.iter().map(|verified| verified.program.as_str()).collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let widest = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> =
        (0..columns).map(|n| if n == 0 { widest(n).max(LABEL) } else { widest(n) }).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::vm::guest::Ending;

    fn answers(tcx: bool) -> Answers {
        Answers {
            check: vec![("helper bpf_loop".into(), true), ("TCX".into(), tcx), ("veth".into(), true)],
            modes: Some(if tcx { "tcx" } else { "clsact" }.into()),
            netdp: Some("0123456789abcdef0123".into()),
        }
    }

    fn results(release: &str, programs: &[&str]) -> Results {
        let verified = programs.iter().map(|program| Verified {
            kernel: "6.1".into(),
            program: (*program).into(),
            instructions: 42,
        });
        Results {
            release: release.into(),
            answers: answers(false),
            verified: verified.collect(),
            tiers: BTreeMap::from([("datapath".to_owned(), (3, 4))]),
            failures: Vec::new(),
            unfinished: Vec::new(),
            lacking: vec!["sctp".into()],
            not_loaded: BTreeMap::new(),
            programs_tried: !programs.is_empty(),
            ending: Ending::Finished,
            console: String::new(),
            warnings: Vec::new(),
            time: Duration::from_secs(61),
        }
    }

    #[test]
    fn table_shows_what_differs_and_every_helper() {
        let kernels = [results("6.1.0-56-cloud-amd64", &["from_container"]), results("6.12.1", &[])];
        let running = answers(true);
        let programs = BTreeSet::from(["from_container".to_owned(), "bind4".to_owned()]);
        let lines = Table { kernels: &kernels, programs: &programs, running: ("6.18", &running) }.lines();
        let of = |beginning: &str| {
            let line = lines.iter().find(|line| line.starts_with(beginning));
            line.map(|line| line[beginning.len()..].split_whitespace().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(of("kernel  ").as_deref(), Some("6.1.0-56-cloud-amd64 6.12.1 6.18 (this machine)"));
        assert_eq!(of("programs loaded").as_deref(), Some("1 of 2 -"));
        assert_eq!(of("  from_container, instructions verified").as_deref(), Some("42 -"));
        assert_eq!(of("packet tests").as_deref(), Some("3 of 4 3 of 4"));
        assert_eq!(of("programs attached by").as_deref(), Some("clsact clsact tcx"));
        assert_eq!(of("helper bpf_loop").as_deref(), Some("yes yes yes"));
        assert_eq!(of("TCX").as_deref(), Some("no no yes"));
        assert_eq!(of("veth"), None);
        assert_eq!(
            of("netdp, SHA-256").as_deref(),
            Some("0123456789abcdef 0123456789abcdef 0123456789abcdef")
        );
    }

    #[test]
    fn what_a_kernel_lacks_is_held_against_this_machines() {
        let lines = lacks(&[results("6.1.0-56", &[])], &answers(true));
        assert_eq!(lines, ["6.1 lacks, of what this machine's kernel has: TCX"]);
        let lines = lacks(&[results("6.1.0-56", &[])], &answers(false));
        assert_eq!(lines, ["6.1 lacks, of what this machine's kernel has: none"]);
        let lines = lacks(&[results("6.1.0-56", &[])], &Answers::default());
        assert_eq!(lines, ["6.1 lacks, of what netdp asks for: TCX"]);
    }
}
