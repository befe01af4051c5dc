//! `netdp limits`: what one container may have of the flow table.

use std::collections::BTreeMap;
use std::io::Write;

use netdp_common::Limit;
use serde_json::{Value, json};

use super::{Context, timers};
use crate::Error;
use crate::cli::{LimitsReset, LimitsSet};
use crate::instance::Place;
use crate::output;
use crate::store::Store;

/// Headings of the table, here and in `netdp status`.
pub(super) const HEADINGS: [&str; 5] = ["LIMIT", "VALUE", "DEFAULT", "RANGE", "OF WHAT"];

pub(super) fn ls<W: Write>(context: &mut Context<'_, W>) -> Result<(), Error> {
    let table = Table::read(&context.place)?;
    if context.is_json() {
        return Ok(output::document(context.out, &table.document())?);
    }
    Ok(output::table(context.out, &HEADINGS, table.rows())?)
}

pub(super) async fn set<W: Write>(context: &mut Context<'_, W>, args: &LimitsSet) -> Result<(), Error> {
    let wanted: Vec<(Limit, u32)> =
        args.limits.iter().map(|(name, value)| wanted(name, value)).collect::<Result<_, _>>()?;
    timers::change(&context.place, |change| {
        wanted.iter().try_for_each(|(limit, value)| Ok(change.set_limit(*limit, *value)?))
    })
    .await
}

pub(super) async fn reset<W: Write>(context: &mut Context<'_, W>, args: &LimitsReset) -> Result<(), Error> {
    let named: Vec<Limit> = args.names.iter().map(|name| limit(name)).collect::<Result<_, _>>()?;
    let named = if named.is_empty() { Limit::ALL.to_vec() } else { named };
    timers::change(&context.place, |change| named.iter().try_for_each(|it| Ok(change.reset_limit(*it)?)))
        .await
}

fn limit(name: &str) -> Result<Limit, Error> {
    let found = Limit::ALL.iter().copied().find(|limit| limit.name() == name);
    found.ok_or_else(|| Error::UnknownLimit {
        name: name.to_owned(),
        known: Limit::ALL.iter().map(|limit| limit.name()).collect::<Vec<_>>().join(", "),
    })
}

fn wanted(name: &str, text: &str) -> Result<(Limit, u32), Error> {
    let limit = limit(name)?;
    match text.parse() {
        Ok(value) if limit.takes(value) => Ok((limit, value)),
        _ => {
            let (least, most) = limit.range();
            Err(Error::LimitRange { name: name.to_owned(), value: text.to_owned(), least, most })
        }
    }
}

/// The limits as they are.
pub(super) struct Table {
    set: BTreeMap<Limit, u32>,
}

impl Table {
    pub(super) fn read(place: &Place) -> Result<Self, Error> {
        let set = match Store::read(&place.state_dir)? {
            Some(store) => store.limits()?.into_iter().collect(),
            None => BTreeMap::new(),
        };
        Ok(Self { set })
    }

    fn value(&self, limit: Limit) -> u32 {
        self.set.get(&limit).copied().unwrap_or(limit.default_value())
    }

    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let row = |limit: &Limit| {
            let (least, most) = limit.range();
            vec![
                limit.name().to_owned(),
                self.value(*limit).to_string(),
                limit.default_value().to_string(),
                format!("{least} to {most}"),
                limit.meaning().to_owned(),
            ]
        };
        Limit::ALL.iter().map(row).collect()
    }

    pub(super) fn document(&self) -> Value {
        let one = |limit: &Limit| {
            let (least, most) = limit.range();
            json!({
                "name": limit.name(),
                "value": self.value(*limit),
                "default": limit.default_value(),
                "least": least,
                "most": most,
                "of": limit.meaning(),
            })
        };
        Limit::ALL.iter().map(one).collect()
    }
}
