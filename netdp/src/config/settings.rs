//! Keys of a file that hold for the whole host.

use netdp_common::settings::{self, LONGEST, SHORTEST};
use netdp_common::{Limit, State};

use super::document::Item;
use super::{Error, each};
use crate::bridge_options;
use crate::model::{Defaults, Prefilter};

/// What holds for the whole host, as far as a file says it.
#[derive(Debug, Default)]
pub struct Settings {
    /// Interfaces that lead out.
    pub uplinks: Option<Vec<String>>,
    /// Where frames are looked at before all else.
    pub prefilter: Option<Prefilter>,
    /// What one container may have.
    pub limits: Vec<(Limit, u32)>,
    /// How long flows live, in seconds.
    pub timers: Vec<(State, u32)>,
    /// What holds for networks that do not say it themselves.
    pub defaults: Vec<(String, String)>,
}

impl Settings {
    /// Takes a key over; says whether it is known.
    pub(super) fn set(&mut self, key: &str, item: &Item<'_>) -> Result<bool, Error> {
        match key {
            "uplinks" => self.uplinks = Some(each(item, uplink)?),
            "prefilter" => self.prefilter = Some(item.parse("auto, native, generic or off")?),
            "limits" => {
                let named = item.entries("a table of limits (netdp limits ls)")?;
                self.limits = named.iter().map(limit).collect::<Result<_, _>>()?;
            }
            "timers" => {
                let named = item.entries("a table of timers in seconds (netdp timers ls)")?;
                self.timers = named.iter().map(timer).collect::<Result<_, _>>()?;
            }
            "defaults" => {
                let named = item.entries("a table of defaults (netdp defaults ls)")?;
                self.defaults = named.iter().map(default).collect::<Result<_, _>>()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn uplink(item: &Item<'_>) -> Result<String, Error> {
    let accepted = "names of interfaces";
    let name = item.text(accepted)?;
    if name.is_empty() || name.len() > crate::netlink::MAX_NAME || name.contains(char::is_whitespace) {
        return Err(item.wrong(accepted));
    }
    Ok(name.to_owned())
}

fn limit((name, item): &(&str, Item<'_>)) -> Result<(Limit, u32), Error> {
    let known = Limit::ALL.iter().copied().find(|limit| limit.name() == *name);
    let limit = known
        .ok_or_else(|| item.unknown(&Limit::ALL.iter().map(|limit| limit.name()).collect::<Vec<_>>()))?;
    let (least, most) = limit.range();
    let value = item.number(least..=most)?;
    if limit.takes(value) { Ok((limit, value)) } else { Err(item.wrong(format!("{least} to {most}"))) }
}

fn timer((name, item): &(&str, Item<'_>)) -> Result<(State, u32), Error> {
    let known = State::ALL.iter().copied().find(|state| state.name() == *name);
    let state = known
        .ok_or_else(|| item.unknown(&State::ALL.iter().map(|state| state.name()).collect::<Vec<_>>()))?;
    let seconds = item.number(SHORTEST..=LONGEST)?;
    if settings::check(state, seconds, false).is_ok() {
        return Ok((state, seconds));
    }
    let (floor, rfc) = state.floor().unwrap_or((SHORTEST, ""));
    Err(item.contradicts(format!(
        "{rfc} asks for at least {floor} s; netdp timers set --unsafe sets less nevertheless"
    )))
}

fn default((name, item): &(&str, Item<'_>)) -> Result<(String, String), Error> {
    if !Defaults::NAMES.contains(name) {
        return Err(item.unknown(&Defaults::NAMES));
    }
    let value = item.scalar()?;
    bridge_options::dependence(name, &value).map_err(|error| item.contradicts(error))?;
    Ok(((*name).to_owned(), value))
}
