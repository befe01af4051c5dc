//! What netdp has promised, and the tests that prove it: tests/nat/requirements.txt of the NAT, tests/system/moby.txt of what
//! Docker's own tests ask of bridge networks; read, and shown with the results.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Where the promises stand in the repository.
const FILES: [&str; 2] = ["tests/nat/requirements.txt", "tests/system/moby.txt"];

/// What became of a test: by tier and name.
pub(crate) type Outcomes = BTreeMap<(String, String), Outcome>;

/// What one test came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// It needs a kernel of our own, so the bare machine did not run it.
    InVm,
    /// It is of what is not there yet, and did not run, or failed as it must.
    NotYet,
    /// It takes so long that it waits for a run of all.
    Long,
}

/// All of the file.
#[derive(Debug)]
pub(crate) struct Requirements {
    chapters: Vec<Chapter>,
}

/// One document: an RFC, or a list of our own.
#[derive(Debug, PartialEq, Eq)]
struct Chapter {
    name: String,
    title: String,
    requirements: Vec<Requirement>,
}

/// One row.
#[derive(Debug, Default, PartialEq, Eq)]
struct Requirement {
    id: String,
    level: String,
    statement: String,
    /// Tier and name.
    tests: Vec<(String, String)>,
    /// Why nothing proves it, or what a reader should know of the proof.
    why: Option<String>,
    /// The work that it waits for.
    later: Option<String>,
    /// What the tests do not prove yet.
    lacks: Option<String>,
}

/// How a row ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail,
    /// A test is named that no run reported.
    NotRun,
    /// No test proves what must be.
    NotYet,
    /// No test proves what should be, and the reason stands there.
    Missed,
    /// The document leaves it open, and what was chosen stands there.
    Chosen,
    Later,
}

impl Requirements {
    /// Reads the files of the repository.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self> {
        let mut chapters = Vec::new();
        for file in FILES {
            let path = workspace.root.join(file);
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let read = Self::parse(&text).with_context(|| format!("{file} is not as its head describes"))?;
            chapters.extend(read.chapters);
        }
        Ok(Self { chapters })
    }

    fn parse(text: &str) -> Result<Self> {
        let mut chapters: Vec<Chapter> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            add_line(&mut chapters, line).with_context(|| format!("line {}: {line}", number + 1))?;
        }
        Ok(Self { chapters })
    }

    /// The tests that are named and not among the outcomes, by tier.
    pub(crate) fn lacking(&self, outcomes: &Outcomes) -> BTreeMap<String, Vec<String>> {
        let mut lacking: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for test in self.tests().filter(|test| !outcomes.contains_key(*test)) {
            let names = lacking.entry(test.0.clone()).or_default();
            if !names.contains(&test.1) {
                names.push(test.1.clone());
            }
        }
        lacking
    }

    fn tests(&self) -> impl Iterator<Item = &(String, String)> {
        self.rows().flat_map(|(_, requirement)| &requirement.tests)
    }

    fn rows(&self) -> impl Iterator<Item = (&Chapter, &Requirement)> {
        let row = |chapter| move |requirement| (chapter, requirement);
        self.chapters.iter().flat_map(move |chapter| chapter.requirements.iter().map(row(chapter)))
    }

    /// Rows that fail although no test did: what no run has proved. Each is one line.
    pub(crate) fn unproved(&self, outcomes: &Outcomes) -> Vec<String> {
        let unproved = |verdict| matches!(verdict, Verdict::NotRun | Verdict::NotYet);
        let rows = self.rows().filter(|(_, requirement)| unproved(requirement.verdict(outcomes)));
        rows.map(|(chapter, row)| format!("{} {}: {}", chapter.name, row.id, row.statement)).collect()
    }

    /// The table, and how many rows end how.
    pub(crate) fn table(&self, outcomes: &Outcomes) -> String {
        let mut text = String::new();
        for chapter in &self.chapters {
            let _ = writeln!(text, "\n{} ({})", chapter.name, chapter.title);
            for requirement in &chapter.requirements {
                requirement.show(outcomes, &mut text);
            }
            let _ = writeln!(text, "  {}", chapter.tally(outcomes));
        }
        text
    }
}

impl Chapter {
    fn tally(&self, outcomes: &Outcomes) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for row in &self.requirements {
            *counts.entry(row.verdict(outcomes).to_string()).or_default() += 1;
        }
        let parts: Vec<_> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        format!("{} of {}: {}", self.name, self.requirements.len(), parts.join(", "))
    }
}

impl Requirement {
    fn verdict(&self, outcomes: &Outcomes) -> Verdict {
        if self.tests.is_empty() {
            return match (&self.later, &self.why) {
                (Some(_), _) => Verdict::Later,
                (None, Some(_)) if self.level == "MAY" => Verdict::Chosen,
                (None, Some(_)) if self.level != "MUST" => Verdict::Missed,
                (None, _) => Verdict::NotYet,
            };
        }
        let found: Vec<_> = self.tests.iter().map(|test| outcomes.get(test)).collect();
        if found.contains(&Some(&Outcome::Failed)) {
            return Verdict::Fail;
        }
        if found.contains(&Some(&Outcome::NotYet)) {
            return Verdict::NotYet;
        }
        // What only the VM can show must not be all that there is.
        if found.contains(&Some(&Outcome::Long))
            || found.contains(&None)
            || !found.contains(&Some(&Outcome::Passed))
        {
            return Verdict::NotRun;
        }
        if self.lacks.is_some() { Verdict::NotYet } else { Verdict::Pass }
    }

    fn show(&self, outcomes: &Outcomes, text: &mut String) {
        let verdict = self.verdict(outcomes).to_string();
        let _ = writeln!(text, "  {:<5}{:<7}{verdict:<9}{}", self.id, self.level, self.statement);
        for test in &self.tests {
            let outcome = outcomes.get(test).map_or("not run", |outcome| outcome.word());
            let _ = writeln!(text, "{:>23}{outcome:<10}{} {}", "", test.0, test.1);
        }
        let notes = [("why: ", &self.why), ("lacks: ", &self.lacks), ("later: ", &self.later)];
        for (word, note) in notes.iter().filter_map(|(word, note)| Some((word, note.as_ref()?))) {
            let _ = writeln!(text, "{:>23}{word}{note}", "");
        }
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::InVm => "in the VM",
            Self::NotYet => "not yet",
            Self::Long => "not run",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotRun => "NOT RUN",
            Self::NotYet => "not yet",
            Self::Missed => "missed",
            Self::Chosen => "chosen",
            Self::Later => "later",
        })
    }
}

fn add_line(chapters: &mut Vec<Chapter>, line: &str) -> Result<()> {
    if let Some(head) = line.strip_prefix('[') {
        let (name, title) = head.split_once("] ").context("a chapter is `[NAME] title`")?;
        let (name, title) = (name.to_owned(), title.to_owned());
        chapters.push(Chapter { name, title, requirements: Vec::new() });
        return Ok(());
    }
    let chapter = chapters.last_mut().context("a row stands in a chapter")?;
    if !line.starts_with(' ') {
        chapter.requirements.push(requirement(line)?);
        return Ok(());
    }
    let requirement = chapter.requirements.last_mut().context("a proof stands below its requirement")?;
    requirement.add(line.trim())
}

fn requirement(line: &str) -> Result<Requirement> {
    let (head, statement) = line.split_once(" | ").context("a requirement is `ID LEVEL | statement`")?;
    let (id, level) = head.split_once(' ').context("a requirement has a level")?;
    if !["MUST", "SHOULD", "REC", "MAY"].contains(&level) {
        bail!("a level is MUST, SHOULD, REC or MAY");
    }
    let [id, level, statement] = [id, level, statement].map(str::to_owned);
    Ok(Requirement { id, level, statement, ..Requirement::default() })
}

impl Requirement {
    fn add(&mut self, line: &str) -> Result<()> {
        if let Some(why) = line.strip_prefix("why: ") {
            self.why = Some(why.to_owned());
            return Ok(());
        }
        if let Some(later) = line.strip_prefix("later: ") {
            self.later = Some(later.to_owned());
            return Ok(());
        }
        if let Some(lacks) = line.strip_prefix("lacks: ") {
            self.lacks = Some(lacks.to_owned());
            return Ok(());
        }
        let (tier, name) = line.split_once(' ').context("a test is `TIER module::name`")?;
        self.tests.push((tier.to_owned(), name.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each requirement of the documents, as they number them. RFC 7857 has sections instead.
    const DOCUMENTS: [(&str, &str); 7] = [
        ("RFC 4787", "1 2 3 3a 4 5 5a 5b 5c 6 6a 7 8 8a 9 9a 10 10a 11 12 12a 12b 13 13a 14 14a"),
        ("RFC 5382", "1 2 2a 3 3a 3b 4 4a 5 5a 6 7 8 8a 9 10"),
        ("RFC 5508", "1 1a 2 2a 3 3a 3b 3c 3d 4 4a 4b 4c 5 5a 5b 5c 6 7 7a 8 9 10 10a 11"),
        ("RFC 7857", "2 2.1 2.2 3 4 5 6 7 7.1 8 9 10 11 12"),
        ("RFC 6888", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"),
        ("Incidents", "R1 R2 R3 R4 R5 R6 R7 R8 R9 R10 R11 R12 R13 R14 R15 R16 R17 R18"),
        ("Attacks", "S1 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 S12 S13 S14 S15 S16 S17 S21 S22 S23 S27"),
    ];

    const TEXT: &str = "\
# A comment.
[RFC 1] title
1 MUST | It works.
  nat a::b
2 SHOULD | It is fast.
  why: nobody measured
3 MUST | It is safe.
4 MUST | It is far.
  later: another issue
4a MAY | It is near.
  why: it is
5 MUST | It is both.
  nat a::b
  system c::d
6 MUST | It is neither.
  nat a::b
  lacks: half of it
";

    fn outcomes(rows: &[(&str, &str, Outcome)]) -> Outcomes {
        rows.iter().map(|(tier, name, outcome)| (((*tier).into(), (*name).into()), *outcome)).collect()
    }

    fn verdicts(ran: &[(&str, &str, Outcome)]) -> Vec<Verdict> {
        let (outcomes, all) = (outcomes(ran), Requirements::parse(TEXT).unwrap());
        all.rows().map(|(_, row)| row.verdict(&outcomes)).collect()
    }

    #[test]
    fn row_is_what_its_tests_came_to() {
        use Verdict::{Chosen, Fail, Later, Missed, NotRun, NotYet, Pass};
        let ran = [("nat", "a::b", Outcome::Passed), ("system", "c::d", Outcome::Failed)];
        assert_eq!(verdicts(&ran), [Pass, Missed, NotYet, Later, Chosen, Fail, NotYet]);
        assert_eq!(verdicts(&ran[..1]), [Pass, Missed, NotYet, Later, Chosen, NotRun, NotYet]);
        assert_eq!(verdicts(&[]), [NotRun, Missed, NotYet, Later, Chosen, NotRun, NotRun]);
    }

    #[test]
    fn row_with_a_test_of_what_is_not_there_is_not_proved_whatever_else_passes() {
        let ran = |came| [("nat", "a::b", Outcome::Passed), ("system", "c::d", came)];
        assert_eq!(verdicts(&ran(Outcome::NotYet))[5], Verdict::NotYet);
        assert_eq!(verdicts(&ran(Outcome::Long))[5], Verdict::NotRun);
    }

    #[test]
    fn what_only_the_vm_runs_proves_nothing_alone() {
        let in_vm = ("system", "c::d", Outcome::InVm);
        assert_eq!(verdicts(&[("nat", "a::b", Outcome::Passed), in_vm])[5], Verdict::Pass);
        assert_eq!(verdicts(&[("nat", "a::b", Outcome::InVm), in_vm])[5], Verdict::NotRun);
    }

    #[test]
    fn what_no_run_has_proved_is_counted() {
        let all = Requirements::parse(TEXT).unwrap();
        let ran = outcomes(&[("nat", "a::b", Outcome::Failed)]);
        assert_eq!(all.unproved(&ran), ["RFC 1 3: It is safe."], "a failed test is counted as such already");
        assert_eq!(all.lacking(&ran), BTreeMap::from([("system".to_owned(), vec!["c::d".to_owned()])]));
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for (text, says) in [
            ("1 MUST | early\n", "stands in a chapter"),
            ("[RFC 1] t\n1 OUGHT | x\n", "a level is"),
            ("[RFC 1] t\n  nat a::b\n", "below its requirement"),
            ("[RFC 1\n", "a chapter is"),
        ] {
            let error = format!("{:#}", Requirements::parse(text).unwrap_err());
            assert!(error.contains(says) && error.contains("line "), "{error}");
        }
    }

    #[test]
    fn every_requirement_of_the_documents_has_a_row_and_one_only() {
        let all = Requirements::read(&Workspace::find().unwrap()).unwrap();
        for (document, ids) in DOCUMENTS {
            let rows = all.rows().filter(|(chapter, _)| chapter.name == document);
            let found: Vec<&str> = rows.map(|(_, row)| row.id.as_str()).collect();
            assert_eq!(found, ids.split(' ').collect::<Vec<_>>(), "{document}");
        }
    }

    #[test]
    fn every_test_that_is_named_exists() {
        let workspace = Workspace::find().unwrap();
        let all = Requirements::read(&workspace).unwrap();
        let absent: BTreeSet<_> = all.tests().filter(|test| !exists(&workspace, test)).collect();
        assert!(absent.is_empty(), "{absent:#?}");
    }

    /// Whether the file of the test's module has a test of this name.
    fn exists(workspace: &Workspace, (tier, name): &(String, String)) -> bool {
        // What is the same for both families is in one file.
        let name = name.trim_start_matches("ipv4::").trim_start_matches("ipv6::");
        let path: Vec<&str> = name.split("::").collect();
        let Some((function, modules)) = path.split_last() else { return false };
        let file = format!("tests/{tier}/{}.rs", modules.join("/"));
        let source = fs::read_to_string(workspace.root.join(file)).unwrap_or_default();
        let found = source.find(&format!("\nfn {function}() {{"));
        found
            .is_some_and(|at| source[..at].rsplit("\n\n").next().is_some_and(|item| item.contains("#[test]")))
    }
}
