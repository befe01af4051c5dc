//! What the configuration file says becomes true: in the database by one change together with all else that `up` does, so that
//! either all of it holds or nothing; and then each declared endpoint whose namespace is there is attached.

mod endpoints;
mod networks;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(super) use endpoints::{attach, overdue};

use crate::Error;
use crate::config::{Config, DeclaredEndpoint, Error as Wrong, Place, Problem};
use crate::instance::Session;
use crate::model::Resolver;
use crate::store::{Change, Setting, Store};

/// What files have declared and netdp has made, so that what somebody made by hand is never touched.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct Declared {
    /// Networks: their ids by name.
    networks: BTreeMap<String, String>,
    /// Endpoints, as they are to be.
    endpoints: Vec<DeclaredEndpoint>,
}

/// One thing that is done, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Deed {
    /// `create`, `change`, `remove`, `attach`, `set`, `wait`.
    pub action: &'static str,
    /// `network`, `endpoint`, `setting`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What exactly.
    pub detail: String,
}

impl Deed {
    fn new(
        action: &'static str,
        kind: &'static str,
        name: &(impl ToString + ?Sized),
        detail: impl Into<String>,
    ) -> Self {
        Self { action, kind, name: name.to_string(), detail: detail.into() }
    }
}

/// Writes into the change what the file says, and tells what is otherwise afterwards. Nothing is touched when it cannot be.
pub(super) async fn edit(
    session: &Session,
    change: &Change<'_>,
    config: &Config,
) -> Result<Vec<Deed>, Error> {
    let mut deeds = Vec::new();
    settings(&session.store, change, config, &mut deeds)?;
    let before: Declared = session.store.setting(Setting::Declared)?;
    let mut after = Declared::default();
    endpoints::remove(session, change, config, &before, &mut deeds)?;
    networks::default(session, change, config, &mut deeds).await?;
    networks::remove(session, change, config, &before, &mut deeds)?;
    networks::declare(session, change, config, &before, &mut after, &mut deeds).await?;
    endpoints::declare(session, change, config, &before, &mut after, &mut deeds)?;
    if before != after {
        change.set_setting(Setting::Declared, &after)?;
    }
    Ok(deeds)
}

/// Settings of the file: those that it does not name stay as `netdp limits` and its like have set them.
fn settings(store: &Store, change: &Change<'_>, config: &Config, deeds: &mut Vec<Deed>) -> Result<(), Error> {
    let mut set = |name: &str, detail: String| deeds.push(Deed::new("set", "setting", name, detail));
    if store.resolver()? != config.resolver {
        change.set_setting(Setting::Resolver, &config.resolver)?;
        let Resolver { servers, search, options } = &config.resolver;
        set("dns", format!("servers {servers:?}, search {search:?}, options {options:?}"));
    }
    if store.host_gateway()? != config.host_gateway {
        change.set_setting(Setting::HostGateway, &config.host_gateway)?;
        let addresses: Vec<String> = config.host_gateway.iter().map(ToString::to_string).collect();
        let is_default = addresses.is_empty();
        let detail =
            if is_default { "the default network's gateway".to_owned() } else { addresses.join(", ") };
        set("host-gateway", detail);
    }
    if store.address_pools()? != config.pools {
        change.set_setting(Setting::AddressPools, &config.pools)?;
        let pools: Vec<String> =
            config.pools.iter().map(|pool| format!("{} in /{}", pool.base, pool.size)).collect();
        set(
            "default-address-pools",
            if pools.is_empty() { "as Docker".to_owned() } else { pools.join(", ") },
        );
    }
    for (limit, value) in &config.settings.limits {
        if store.limit(*limit)? != *value {
            change.set_limit(*limit, *value)?;
            set(limit.name(), value.to_string());
        }
    }
    let timers: BTreeMap<_, _> = store.timers()?.into_iter().collect();
    for (state, seconds) in &config.settings.timers {
        if timers.get(state).copied().unwrap_or(state.default_seconds()) != *seconds {
            change.set_timer(*state, *seconds)?;
            set(state.name(), format!("{seconds} s"));
        }
    }
    let defaults = store.defaults()?;
    for (name, value) in &config.settings.defaults {
        if !defaults.rows().iter().any(|(known, is, _)| known == name && is == value) {
            change.set_default(name, value)?;
            set(name, value.clone());
        }
    }
    Ok(())
}

/// What is declared cannot be had.
fn cannot(place: &Place, what: String, why: String, advice: &str) -> Error {
    let problem = Problem::Declared { what, why, advice: advice.to_owned() };
    Wrong::At { place: place.clone(), problem }.into()
}

/// The place of what another part of netdp refuses; what the host lacks is nobody's line.
fn at(place: &Place, what: String) -> impl Fn(Error) -> Error {
    let place = place.clone();
    move |error| {
        if error.exit_code() != 1 || matches!(error, Error::Config(_)) {
            return error;
        }
        let advice =
            error.advice().unwrap_or_else(|| "nothing was changed: put it right and try again".to_owned());
        cannot(&place, what.clone(), error.to_string(), &advice)
    }
}
