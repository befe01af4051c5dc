//! What the configuration file says becomes true: in the database by one change together with all else that `up` does, so that
//! either all of it holds or nothing; and then each declared endpoint whose namespace is there is attached.

mod endpoints;
mod networks;
mod settings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(super) use endpoints::{attach, overdue, waiting};

use crate::Error;
use crate::config::{Config, DeclaredEndpoint, Error as Wrong, Place, Problem};
use crate::instance::Session;
use crate::store::{Change, Setting};

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
    settings::edit(&session.store, change, config, &mut deeds)?;
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
