//! `netdp defaults`: what holds for networks that do not say it themselves.

use std::io::Write;

use serde_json::json;

use super::{Context, timers};
use crate::Error;
use crate::bridge_options;
use crate::cli::{DefaultsReset, DefaultsSet};
use crate::model::Defaults;
use crate::output;
use crate::store::Store;

pub(super) fn ls<W: Write>(context: &mut Context<'_, W>) -> Result<(), Error> {
    let set = match Store::read(&context.place.state_dir)? {
        Some(store) => store.defaults()?,
        None => Defaults::default(),
    };
    if context.is_json() {
        let default = |(name, value, first): (&str, &str, &str)| json!({ "name": name, "value": value, "default": first });
        let document = set.rows().into_iter().map(default).collect();
        return Ok(output::document(context.out, &document)?);
    }
    let rows =
        set.rows().map(|(name, value, first)| vec![name.to_owned(), value.to_owned(), first.to_owned()]);
    Ok(output::table(context.out, &["DEFAULT OF", "IS", "AT FIRST"], rows.into())?)
}

pub(super) async fn set<W: Write>(context: &mut Context<'_, W>, args: &DefaultsSet) -> Result<(), Error> {
    for (name, value) in &args.defaults {
        known(name)?;
        bridge_options::dependence(name, value)?;
    }
    timers::change(&context.place, |change| {
        args.defaults.iter().try_for_each(|(name, value)| Ok(change.set_default(name, value)?))
    })
    .await
}

pub(super) async fn reset<W: Write>(context: &mut Context<'_, W>, args: &DefaultsReset) -> Result<(), Error> {
    args.names.iter().try_for_each(|name| known(name))?;
    let all: Vec<String> = Defaults::NAMES.iter().map(|name| (*name).to_owned()).collect();
    let named = if args.names.is_empty() { &all } else { &args.names };
    timers::change(&context.place, |change| named.iter().try_for_each(|name| Ok(change.reset_default(name)?)))
        .await
}

fn known(name: &str) -> Result<(), Error> {
    if Defaults::NAMES.contains(&name) {
        return Ok(());
    }
    Err(Error::UnknownDefault { name: name.to_owned(), known: Defaults::NAMES.join(", ") })
}
