//! The numbers in README.md, from the file that a run has left. `xtask` reads this file too: it does so without measuring, and
//! has the tests.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::unit::{RATIOS, Unit, interval};

/// What a file of results has to say in README.md, between two marks of its own.
struct Section {
    file: &'static str,
    text: fn(&Value) -> Result<String, String>,
}

/// Each file of results that README.md shows.
const SECTIONS: [Section; 1] = [Section { file: "results.json", text: arena }];

/// Who stands in README.md; results.json has all of them.
const ARMS: [&str; 4] = ["veth", "uplink", "docker", "netdp"];
/// Whom netdp is compared with there, and where a result has an arm's ratio to it.
const COMPARED: [(&str, &str); 3] = [("veth", "of_veth"), ("uplink", "of_uplink"), ("docker", "of_docker")];
/// How the names of netdp's variants begin.
const VARIANT: &str = "netdp-";
/// How many words a line begins with.
const WORDS: usize = 3;

/// Writes the sections that `from` has results for: one file, or all files of a folder. Says which; changes nothing unless all
/// of them are good.
pub(crate) fn update(readme: &Path, from: &Path) -> Result<Vec<&'static str>, String> {
    let mut text = read(readme)?;
    let mut files = Vec::new();
    for section in SECTIONS.iter().filter(|section| section.is_in(from)) {
        let path = if from.is_dir() { from.join(section.file) } else { from.to_owned() };
        let results = serde_json::from_str(&read(&path)?).map_err(|error| error.to_string());
        let written = results.and_then(|results| section.put_into(&text, &results));
        text = written.map_err(|error| format!("{}: {error}", path.display()))?;
        files.push(section.file);
    }
    if files.is_empty() {
        let known: Vec<&str> = SECTIONS.iter().map(|section| section.file).collect();
        return Err(format!("{} is or has none of: {}", from.display(), known.join(", ")));
    }
    fs::write(readme, text).map_err(|error| format!("cannot write {}: {error}", readme.display()))?;
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

impl Section {
    fn is_in(&self, from: &Path) -> bool {
        from.join(self.file).is_file() || from.file_name().is_some_and(|name| name == self.file)
    }

    /// The text with this section made anew.
    fn put_into(&self, readme: &str, results: &Value) -> Result<String, String> {
        if results["complete"] != true {
            return Err("it is of a run that did not measure all that it was to measure".to_owned());
        }
        let begin = format!("<!-- {}: written by cargo xtask bench --update-readme -->\n", self.file);
        let end = format!("<!-- end of {} -->\n", self.file);
        let parts = readme.split_once(&begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(&end)?;
            Some((before, after))
        });
        let (before, after) =
            parts.ok_or_else(|| format!("README.md lacks the lines {begin}and {end}in this order"))?;
        Ok(format!("{before}{begin}\n{}\n{end}{after}", (self.text)(results)?))
    }
}

/// The arena's: how it was made, medians and ratios, and what must be known beside them.
fn arena(results: &Value) -> Result<String, String> {
    let machine = &results["machine"];
    let [date, kernel, processor] =
        [&machine["date"], &machine["kernel"], &machine["processor"]].map(Value::as_str);
    let rounds = results["rounds"].as_u64();
    let lacking = || "it does not say when, where and how often was measured".to_owned();
    let (date, kernel, processor) = (
        date.ok_or_else(lacking)?.split('T').next().unwrap_or_default(),
        kernel.ok_or_else(lacking)?,
        processor.ok_or_else(lacking)?,
    );
    let mut text = format!(
        "`{command}`, {date}, {rounds} rounds, {processors} processors ({processor}), Linux {kernel}.\n\
         Medians of the rounds, ratios with their 95 % confidence interval; {RATIOS}.\n\n\
         ```text\n{table}```\n{variants}",
        command = results["command"].as_str().ok_or_else(lacking)?,
        rounds = rounds.ok_or_else(lacking)?,
        processors = machine["processors"].as_u64().ok_or_else(lacking)?,
        table = aligned(&table(results)?, WORDS),
        variants = variants(results)?,
    );
    let remarks = [("notes", ""), ("left_out", "left out: ")].into_iter().flat_map(|(key, word)| {
        results[key].as_array().into_iter().flatten().map(move |remark| (word, remark))
    });
    for (at, (word, remark)) in remarks.enumerate() {
        let between = if at == 0 { "\n" } else { "" };
        let part = |key: &str| remark[key].as_str().unwrap_or_default();
        let _ = writeln!(text, "{between}- {word}{}: {}", part("what"), part("text"));
    }
    Ok(text)
}

/// A heading, and a line for each scenario, family and kind.
fn table(results: &Value) -> Result<Vec<Vec<String>>, String> {
    let rows = rows(results)?;
    let has = |arm: &&str| rows.iter().any(|row| cell(row, arm).is_some());
    let arms: Vec<&str> = ARMS.into_iter().filter(has).collect();
    let compared = COMPARED.into_iter().filter(|(arm, _)| arms.contains(arm));
    let compared: Vec<(&str, &str)> = compared.collect();
    let mut heading = ["scenario", "family", "kind"].map(str::to_owned).to_vec();
    heading.extend(arms.iter().map(ToString::to_string));
    heading.extend(compared.iter().map(|(arm, _)| format!("netdp vs {arm}")));
    let mut lines = vec![heading];
    let mut above = Vec::new();
    for row in rows.iter().filter(|row| cell(row, "netdp").is_some()) {
        let begin = begin(row)?;
        let mut line = unlike(&begin, &above);
        let unit = unit(row)?;
        line.extend(arms.iter().map(|arm| median(cell(row, arm), unit)));
        line.extend(compared.iter().map(|(_, of)| ratio(&cell(row, "netdp").unwrap_or(&Value::Null)[of])));
        lines.push(line);
        above = begin;
    }
    Ok(lines)
}

/// netdp otherwise than usual: a line for each number, when there is any.
fn variants(results: &Value) -> Result<String, String> {
    let mut heading = ["scenario", "family", "kind", "netdp-", "median"].map(str::to_owned).to_vec();
    heading.extend(COMPARED.iter().map(|(arm, _)| format!("vs {arm}")));
    heading.push("netdp vs this".to_owned());
    let mut lines = vec![heading];
    let mut above = Vec::new();
    for row in rows(results)? {
        for cell in row["arms"].as_array().into_iter().flatten() {
            let name = cell["arm"].as_str().unwrap_or_default();
            let Some(variant) = name.strip_prefix(VARIANT) else { continue };
            let begin = begin(row)?;
            let mut line = unlike(&begin, &above);
            line.extend([variant.to_owned(), median(Some(cell), unit(row)?)]);
            line.extend(COMPARED.iter().map(|(_, of)| ratio(&cell[of])));
            line.push(ratio(&row["netdp_to"][name]));
            lines.push(line);
            above = begin;
        }
    }
    let text = || {
        let table = aligned(&lines, WORDS + 1);
        format!("\nnetdp with or without something:\n\n```text\n{table}```\n")
    };
    Ok(if lines.len() > 1 { text() } else { String::new() })
}

fn rows(results: &Value) -> Result<&[Value], String> {
    Ok(results["results"].as_array().ok_or("it has no results")?)
}

/// What a line is about.
fn begin(row: &Value) -> Result<Vec<String>, String> {
    let word = |key: &str| row[key].as_str().ok_or_else(|| format!("a result has no {key}"));
    let kind = format!("{} ({})", word("kind")?, unit(row)?.label());
    Ok(vec![word("scenario")?.to_owned(), format!("IPv{}", word("family")?), kind])
}

/// What is as in the line above is not said again, up to the first word that is not.
fn unlike(begin: &[String], above: &[String]) -> Vec<String> {
    let same = begin.iter().zip(above).take_while(|(word, above)| word == above).count();
    begin.iter().enumerate().map(|(at, word)| if at < same { String::new() } else { word.clone() }).collect()
}

fn unit(row: &Value) -> Result<Unit, String> {
    row["unit"].as_str().and_then(Unit::named).ok_or_else(|| "a result has an unknown unit".to_owned())
}

fn median(cell: Option<&Value>, unit: Unit) -> String {
    let median = cell.and_then(|cell| cell["median"].as_f64());
    median.map_or_else(String::new, |median| unit.shown(median))
}

fn cell<'a>(row: &'a Value, arm: &str) -> Option<&'a Value> {
    row["arms"].as_array()?.iter().find(|cell| cell["arm"] == arm)
}

fn ratio(estimate: &Value) -> String {
    let [median, low, high] = ["median", "low", "high"].map(|key| estimate[key].as_f64());
    match (median, low, high) {
        (Some(median), Some(low), Some(high)) => interval(median, low, high),
        _ => String::new(),
    }
}

/// So many columns of words to the left and numbers to the right, each as wide as what is in it.
fn aligned(lines: &[Vec<String>], words: usize) -> String {
    let width =
        |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (column, word) in line.iter().enumerate() {
            let width = width(column);
            let _ = if column < words {
                write!(row, "{word:width$}   ")
            } else {
                write!(row, "{word:>width$}   ")
            };
        }
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}
