//! A TOML or JSON file as one kind of tree, every part of which knows its line.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use toml::de::{DeTable, DeValue};

use super::error::{Error, Place, Problem};
use crate::names;

/// JSON as Docker reads it, and no more.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Bool(bool),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// What no key takes, in words.
    Other(&'static str),
}

/// A value with its line; that of a table's entry is the line of its key.
#[derive(Debug)]
pub(super) struct Node {
    line: usize,
    value: Value,
}

/// Where lines begin, to find the line of a byte.
struct Lines<'a> {
    path: &'a Path,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(path: &'a Path, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { path, starts: std::iter::once(0).chain(ends).collect() }
    }

    fn line(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte)
    }

    fn error(&self, byte: usize, problem: Problem) -> Error {
        Error::At { place: Place { path: self.path.to_owned(), line: self.line(byte) }, problem }
    }
}

/// Reads TOML.
pub(super) fn toml(path: &Path, text: &str) -> Result<Node, Error> {
    let lines = Lines::of(path, text);
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        lines.error(at, Problem::Syntax(error.message().replace('\n', ", ")))
    })?;
    Ok(Node { line: 1, value: Value::Table(toml_table(&lines, table.get_ref())) })
}

fn toml_table(lines: &Lines<'_>, table: &DeTable<'_>) -> Vec<(String, Node)> {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        let line = lines.line(key.span().start);
        (name.clone().into_owned(), Node { line, value: toml_value(lines, value.get_ref()) })
    };
    table.iter().map(entry).collect()
}

fn toml_value(lines: &Lines<'_>, value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix());
            parsed.map_or(Value::Other("a number that is too large"), Value::Number)
        }
        DeValue::Float(_) => Value::Other("a number with a point"),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => {
            let node = |item: &toml::Spanned<DeValue<'_>>| Node {
                line: lines.line(item.span().start),
                value: toml_value(lines, item.get_ref()),
            };
            Value::List(items.iter().map(node).collect())
        }
        DeValue::Table(table) => Value::Table(toml_table(lines, table)),
    }
}

/// Reads JSON.
pub(super) fn json(path: &Path, text: &str) -> Result<Node, Error> {
    let lines = Lines::of(path, text);
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT)
        .map_err(|error| lines.error(error.range().start, Problem::Syntax(error.kind().to_string())))?;
    match parsed.value {
        Some(value @ ast::Value::Object(_)) => json_node(&lines, &value, value.range().start),
        _ => Err(lines.error(0, Problem::Syntax("a daemon.json is one object: { ... }".to_owned()))),
    }
}

fn json_node(lines: &Lines<'_>, value: &ast::Value<'_>, at: usize) -> Result<Node, Error> {
    let value = match value {
        ast::Value::StringLit(text) => Value::Text(text.value.clone().into_owned()),
        ast::Value::NumberLit(number) => {
            number.value.parse().map_or(Value::Other("a number that is no whole one"), Value::Number)
        }
        ast::Value::BooleanLit(value) => Value::Bool(value.value),
        ast::Value::NullKeyword(_) => Value::Other("null"),
        ast::Value::Array(array) => {
            let node = |item: &ast::Value<'_>| json_node(lines, item, item.range().start);
            Value::List(array.elements.iter().map(node).collect::<Result<_, _>>()?)
        }
        ast::Value::Object(object) => Value::Table(json_table(lines, object)?),
    };
    Ok(Node { line: lines.line(at), value })
}

fn json_table(lines: &Lines<'_>, object: &ast::Object<'_>) -> Result<Vec<(String, Node)>, Error> {
    let mut entries: Vec<(String, Node)> = Vec::new();
    for property in &object.properties {
        let (name, at) = (property.name.as_str(), property.range.start);
        if entries.iter().any(|(there, _)| there == name) {
            return Err(lines.error(at, Problem::Twice(name.to_owned())));
        }
        entries.push((name.to_owned(), json_node(lines, &property.value, at)?));
    }
    Ok(entries)
}

/// A value with the keys that lead to it, to be asked for what it should be.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    path: &'a Path,
    /// `network.blue.subnet`; empty for the whole file.
    pub(super) key: String,
    node: &'a Node,
}

impl<'a> Item<'a> {
    /// The whole file.
    pub(super) fn root(path: &'a Path, node: &'a Node) -> Self {
        Self { path, key: String::new(), node }
    }

    pub(super) fn place(&self) -> Place {
        Place { path: self.path.to_owned(), line: self.node.line }
    }

    pub(super) fn error(&self, problem: Problem) -> Error {
        Error::At { place: self.place(), problem }
    }

    /// It is not what it should be.
    pub(super) fn wrong(&self, accepted: impl Display) -> Error {
        let (key, found) = (self.key.clone(), describe(&self.node.value));
        self.error(Problem::Value { key, found, accepted: accepted.to_string() })
    }

    /// It cannot hold together with something else.
    pub(super) fn contradicts(&self, why: impl Display) -> Error {
        self.error(Problem::Contradiction { key: self.key.clone(), why: why.to_string() })
    }

    pub(super) fn bool(&self) -> Result<bool, Error> {
        match self.node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.wrong("true or false")),
        }
    }

    pub(super) fn number(&self, range: RangeInclusive<u32>) -> Result<u32, Error> {
        let number = match self.node.value {
            Value::Number(number) => u32::try_from(number).ok().filter(|number| range.contains(number)),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(format!("a number from {} to {}", range.start(), range.end())))
    }

    pub(super) fn signed(&self) -> Result<i32, Error> {
        let number = match self.node.value {
            Value::Number(number) => i32::try_from(number).ok(),
            _ => None,
        };
        number.ok_or_else(|| self.wrong("a whole number"))
    }

    pub(super) fn text(&self, accepted: &str) -> Result<&'a str, Error> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong(accepted)),
        }
    }

    pub(super) fn parse<T: FromStr>(&self, accepted: &str) -> Result<T, Error> {
        self.text(accepted)?.parse().map_err(|_| self.wrong(accepted))
    }

    /// As [`Self::parse`], where the type says itself what is wrong.
    pub(super) fn read<T: FromStr<Err: Display>>(&self, accepted: &str) -> Result<T, Error> {
        let text = self.text(accepted)?;
        text.parse().map_err(|error| self.contradicts(error))
    }

    /// The values of a list; a single one is a list too.
    pub(super) fn items(&self) -> Vec<Self> {
        let item = |node: &'a Node| Self { path: self.path, key: self.key.clone(), node };
        match &self.node.value {
            Value::List(items) => items.iter().map(item).collect(),
            _ => vec![self.clone()],
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }

    /// The entries of a table by their names.
    pub(super) fn entries(&self, accepted: &str) -> Result<Vec<(&'a str, Self)>, Error> {
        let Value::Table(entries) = &self.node.value else { return Err(self.wrong(accepted)) };
        let entry = |(name, node): &'a (String, Node)| {
            let key = if self.key.is_empty() { name.clone() } else { format!("{}.{name}", self.key) };
            (name.as_str(), Self { path: self.path, key, node })
        };
        Ok(entries.iter().map(entry).collect())
    }

    /// A key of that name is not known here.
    pub(super) fn unknown(&self, known: &[&str]) -> Error {
        let name = self.key.rsplit('.').next().unwrap_or_default();
        let nearest = names::nearest(name, known.iter().copied()).into_iter().next();
        self.error(Problem::Unknown { key: self.key.clone(), known: known.join(", "), nearest })
    }

    /// As users would write it in a string: pairs of a table that may be numbers and booleans too.
    pub(super) fn scalar(&self) -> Result<String, Error> {
        match &self.node.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(value) => Ok(value.to_string()),
            Value::List(_) | Value::Table(_) | Value::Other(_) => {
                Err(self.wrong("a string, a number or true or false"))
            }
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::List(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        Value::Other(what) => (*what).to_owned(),
    }
}
