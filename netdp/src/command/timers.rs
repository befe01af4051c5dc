//! `netdp timers`: the one table of how long flows live without a packet.

use std::collections::BTreeMap;
use std::io::Write;

use netdp_common::State;
use netdp_common::settings::{self, LONGEST, Refused, SHORTEST};
use serde_json::{Value, json};

use super::{Context, commit};
use crate::Error;
use crate::cli::{TimersReset, TimersSet};
use crate::instance::{Place, Session};
use crate::output;
use crate::store::{Change, Store};

/// Headings of the table, here and in `netdp status`.
pub(super) const HEADINGS: [&str; 5] = ["TIMER", "SECONDS", "DEFAULT", "RFC FLOOR", "WHEN"];

pub(super) fn ls<W: Write>(context: &mut Context<'_, W>) -> Result<(), Error> {
    let table = Table::read(&context.place)?;
    if context.is_json() {
        return Ok(output::document(context.out, &table.document())?);
    }
    Ok(output::table(context.out, &HEADINGS, table.rows())?)
}

pub(super) async fn set<W: Write>(context: &mut Context<'_, W>, args: &TimersSet) -> Result<(), Error> {
    let wanted: Vec<(State, u32)> = args
        .timers
        .iter()
        .map(|(name, seconds)| wanted(name, seconds, args.below_floor))
        .collect::<Result<_, _>>()?;
    change(&context.place, |change| {
        wanted.iter().try_for_each(|(state, seconds)| Ok(change.set_timer(*state, *seconds)?))
    })
    .await
}

pub(super) async fn reset<W: Write>(context: &mut Context<'_, W>, args: &TimersReset) -> Result<(), Error> {
    let named: Vec<State> = args.names.iter().map(|name| state(name)).collect::<Result<_, _>>()?;
    let named = if named.is_empty() { State::ALL.to_vec() } else { named };
    change(&context.place, |change| named.iter().try_for_each(|state| Ok(change.reset_timer(*state)?))).await
}

/// All of the change holds, in the database and in the datapath, or nothing of it.
pub(super) async fn change(
    place: &Place,
    edit: impl FnOnce(&Change<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    commit::with_all(&mut Session::begin(place).await?, edit).await
}

fn state(name: &str) -> Result<State, Error> {
    let found = State::ALL.iter().copied().find(|state| state.name() == name);
    found.ok_or_else(|| Error::UnknownTimer {
        name: name.to_owned(),
        known: State::ALL.iter().map(|state| state.name()).collect::<Vec<_>>().join(", "),
    })
}

fn wanted(name: &str, text: &str, below_floor: bool) -> Result<(State, u32), Error> {
    let state = state(name)?;
    let out_of_range = || Error::TimerRange { name: name.to_owned(), value: text.to_owned() };
    let seconds = text.parse().map_err(|_| out_of_range())?;
    match settings::check(state, seconds, below_floor) {
        Ok(()) => Ok((state, seconds)),
        Err(Refused::Range) => Err(out_of_range()),
        Err(Refused::Floor(floor)) => Err(Error::TimerFloor {
            name: name.to_owned(),
            seconds,
            floor,
            source_of_floor: state.floor().map_or("", |(_, rfc)| rfc),
        }),
    }
}

/// The timers as they are.
pub(super) struct Table {
    set: BTreeMap<State, u32>,
}

impl Table {
    pub(super) fn read(place: &Place) -> Result<Self, Error> {
        let set = match Store::read(&place.state_dir)? {
            Some(store) => store.timers()?.into_iter().collect(),
            None => BTreeMap::new(),
        };
        Ok(Self { set })
    }

    fn seconds(&self, state: State) -> u32 {
        self.set.get(&state).copied().unwrap_or(state.default_seconds())
    }

    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let row = |state: &State| {
            let floor = state.floor().map_or("-".to_owned(), |(seconds, rfc)| format!("{seconds} ({rfc})"));
            vec![
                state.name().to_owned(),
                self.seconds(*state).to_string(),
                state.default_seconds().to_string(),
                floor,
                state.meaning().to_owned(),
            ]
        };
        State::ALL.iter().map(row).collect()
    }

    pub(super) fn document(&self) -> Value {
        let timer = |state: &State| {
            json!({
                "name": state.name(),
                "seconds": self.seconds(*state),
                "default": state.default_seconds(),
                "floor": state.floor().map(|(seconds, _)| seconds),
                "floor_source": state.floor().map(|(_, rfc)| rfc),
                "when": state.meaning(),
            })
        };
        State::ALL.iter().map(timer).collect()
    }
}

/// What a timer can be set to, for the error that says so.
pub(crate) fn range() -> String {
    format!("{SHORTEST} to {LONGEST} seconds")
}
