//! How long functions and files are: code that is read in one look is code that can be checked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const MEDIAN: usize = 10;
const P90: usize = 35;
const LONGEST: usize = 80;
const FILE: usize = 900;

/// The lengths, in lines, of one crate's functions and files.
#[derive(Default)]
pub(crate) struct Lengths {
    functions: Vec<Function>,
    files: Vec<(usize, PathBuf)>,
}

/// One `fn` with a body, from the line of its name to that of its closing brace.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Function {
    lines: usize,
    name: String,
    /// Where it starts: file and line (1 is the first).
    file: PathBuf,
    line: usize,
}

impl Lengths {
    /// Measures all Rust files below a folder.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let mut lengths = Self::default();
        lengths.add_folder(folder)?;
        lengths.functions.sort();
        lengths.files.sort();
        Ok(lengths)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                self.add_folder(&path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.add_file(path)?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: PathBuf) -> Result<()> {
        let source = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        self.functions.extend(functions(&source).map(|(lines, name, line)| Function {
            lines,
            name,
            file: path.clone(),
            line,
        }));
        self.files.push((source.lines().count(), path));
        Ok(())
    }

    /// The length that this share of the functions stays under.
    fn quantile(&self, percent: usize) -> usize {
        let last = self.functions.len().saturating_sub(1);
        let index = (percent * self.functions.len() / 100).min(last);
        self.functions.get(index).map_or(0, |function| function.lines)
    }

    /// The numbers in one line.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} functions: median {}, 90% {}, longest {}; {} files, longest {}",
            self.functions.len(),
            self.quantile(50),
            self.quantile(90),
            self.quantile(100),
            self.files.len(),
            self.files.last().map_or(0, |file| file.0),
        )
    }

    /// What is beyond the bounds, one line each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let quantiles = [("the median function", 50, MEDIAN), ("90% of the functions", 90, P90)];
        let quantiles = quantiles.into_iter().filter_map(|(what, percent, bound)| {
            let lines = self.quantile(percent);
            (lines > bound).then(|| format!("{what} has {lines} lines, more than {bound}"))
        });
        let functions = self.functions.iter().filter(|function| function.lines > LONGEST).map(|function| {
            let Function { lines, name, file, line } = function;
            format!("{}:{line}: {name} has {lines} lines, more than {LONGEST}", file.display())
        });
        let files = self.files.iter().filter(|(lines, _)| *lines > FILE);
        let files = files.map(|(lines, path)| format!("{}: {lines} lines, more than {FILE}", path.display()));
        quantiles.chain(functions).chain(files).collect()
    }
}

/// Length, name and first line of each function that has a body.
fn functions(source: &str) -> impl Iterator<Item = (usize, String, usize)> {
    let code = code(source);
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let (start, name) = next_name(&code, at)?;
            at = start + 2;
            if let Some(end) = body_end(&code, at) {
                let line = newlines(&code[..start]) + 1;
                return Some((newlines(&code[start..end]) + 1, name, line));
            }
        }
    })
}

fn newlines(code: &[char]) -> usize {
    code.iter().filter(|c| **c == '\n').count()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the next `fn` with a name stands, and the name.
fn next_name(code: &[char], from: usize) -> Option<(usize, String)> {
    (from..code.len()).find_map(|start| {
        let rest = code[start..].strip_prefix(&['f', 'n'])?;
        if start > 0 && is_word(code[start - 1]) {
            return None;
        }
        let spaces = rest.iter().take_while(|c| c.is_whitespace()).count();
        let name: String = rest[spaces..].iter().take_while(|c| is_word(**c)).collect();
        let named = spaces > 0 && name.chars().next().is_some_and(|c| !c.is_numeric());
        named.then_some((start, name))
    })
}

/// Where the closing brace of the body is; nothing for a function without a body.
fn body_end(code: &[char], from: usize) -> Option<usize> {
    let mut depth = 0;
    let open = (from..code.len()).find(|&at| {
        match code[at] {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        depth == 0 && matches!(code[at], ';' | '{')
    })?;
    if code[open] == ';' {
        return None;
    }
    let mut braces = 0;
    let close = (open..code.len()).find(|&at| {
        match code[at] {
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        braces == 0
    });
    Some(close.unwrap_or(code.len()))
}

/// The source with comments, strings and character literals turned into spaces; lines stay where they are.
fn code(source: &str) -> Vec<char> {
    let mut code: Vec<char> = source.chars().collect();
    let mut at = 0;
    while at < code.len() {
        let Some(end) = not_code(&code, at) else {
            at += 1;
            continue;
        };
        let end = end.min(code.len());
        code[at..end].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
        at = end;
    }
    code
}

/// If something that is no code starts here, where it ends.
fn not_code(source: &[char], at: usize) -> Option<usize> {
    match source[at..] {
        ['/', '/', ..] => Some(find(source, at, &['\n'])),
        ['/', '*', ..] => Some(block_comment_end(source, at)),
        ['r' | 'b', ..] => raw_string_end(source, at),
        ['"', ..] => Some(string_end(source, at)),
        ['\'', ..] => char_end(source, at),
        _ => None,
    }
}

/// The next place of a text, or the end of the source.
fn find(source: &[char], from: usize, text: &[char]) -> usize {
    (from..source.len()).find(|&at| source[at..].starts_with(text)).unwrap_or(source.len())
}

fn block_comment_end(source: &[char], from: usize) -> usize {
    let mut depth = 1;
    let mut at = from + 2;
    while at < source.len() && depth > 0 {
        let step = match source[at..] {
            ['/', '*', ..] => (2, 1),
            ['*', '/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step.0;
        depth += step.1;
    }
    at
}

fn raw_string_end(source: &[char], from: usize) -> Option<usize> {
    if from > 0 && is_word(source[from - 1]) {
        return None;
    }
    let prefix = if source[from] == 'b' { 2 } else { 1 };
    if source.get(from + prefix - 1) != Some(&'r') {
        return None;
    }
    let hashes = source[from + prefix..].iter().take_while(|c| **c == '#').count();
    let quote = from + prefix + hashes;
    if source.get(quote) != Some(&'"') {
        return None;
    }
    let mut closing = vec!['"'];
    closing.resize(hashes + 1, '#');
    Some(find(source, quote + 1, &closing) + closing.len())
}

fn string_end(source: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < source.len() && source[at] != '"' {
        at += if source[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// A character literal; a lifetime is none.
fn char_end(source: &[char], from: usize) -> Option<usize> {
    match source[from..] {
        ['\'', '\\', _, ..] => Some(find(source, from + 3, &['\'']) + 1),
        ['\'', c, '\'', ..] if c != '\'' => Some(from + 3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(source: &str) -> Vec<(usize, String, usize)> {
        functions(source).collect()
    }

    #[test]
    fn a_function_reaches_from_its_name_to_its_closing_brace() {
        let source = "struct A;\nfn one() {}\nfn three(\n) -> [u8; 3] {\n}\n";
        assert_eq!(measured(source), [(1, "one".into(), 2), (3, "three".into(), 3)]);
    }

    #[test]
    fn a_declaration_and_a_function_type_have_no_body() {
        assert_eq!(measured("trait T { fn a(&self); }\ntype F = fn(u8) -> u8;\n"), []);
    }

    #[test]
    fn braces_in_text_and_comments_do_not_count() {
        let source = "fn a<'x>() {\n// {\n/* { /* } */ { */\nlet s = \"{\\\"{\";\nlet r = r#\"{\"{\"#;\nlet c = '{';\n}\nfn b() {}\n";
        assert_eq!(measured(source), [(7, "a".into(), 1), (1, "b".into(), 8)]);
    }

    #[test]
    fn an_inner_function_is_measured_too() {
        assert_eq!(measured("fn a() {\nfn b() {\n}\n}\n"), [(4, "a".into(), 1), (2, "b".into(), 2)]);
    }
}
