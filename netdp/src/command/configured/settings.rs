//! What holds for the whole host.

use std::collections::BTreeMap;

use netdp_common::{Limit, State};
use serde::{Deserialize, Serialize};

use super::Deed;
use crate::Error;
use crate::config::Config;
use crate::model::{Defaults, Resolver};
use crate::store::{Change, Setting, Store};

/// What the file has set the last time, by name, so that what it does not name any more is as it was at first again.
/// What `netdp limits` and its like have set otherwise meanwhile is theirs.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
struct OfFile {
    limits: BTreeMap<String, u32>,
    timers: BTreeMap<String, u32>,
    defaults: BTreeMap<String, String>,
}

impl OfFile {
    fn read(config: &Config) -> Self {
        let settings = &config.settings;
        Self {
            limits: settings.limits.iter().map(|(limit, value)| (limit.name().to_owned(), *value)).collect(),
            timers: settings.timers.iter().map(|(state, value)| (state.name().to_owned(), *value)).collect(),
            defaults: settings.defaults.iter().cloned().collect(),
        }
    }
}

/// Makes them what the file says.
pub(super) fn edit(
    store: &Store,
    change: &Change<'_>,
    config: &Config,
    deeds: &mut Vec<Deed>,
) -> Result<(), Error> {
    names(store, change, config, deeds)?;
    networks(store, change, config, deeds)?;
    let (before, after): (OfFile, _) = (store.setting(Setting::OfFile)?, OfFile::read(config));
    limits(store, change, (&before, &after), deeds)?;
    timers(store, change, (&before, &after), deeds)?;
    defaults(store, change, (&before, &after), deeds)?;
    if before == after { Ok(()) } else { Ok(change.set_setting(Setting::OfFile, &after)?) }
}

fn set(deeds: &mut Vec<Deed>, name: &str, detail: String) {
    deeds.push(Deed::new("set", "setting", name, detail));
}

fn names(store: &Store, change: &Change<'_>, config: &Config, deeds: &mut Vec<Deed>) -> Result<(), Error> {
    if store.resolver()? != config.resolver {
        change.set_setting(Setting::Resolver, &config.resolver)?;
        let Resolver { servers, search, options } = &config.resolver;
        set(deeds, "dns", format!("servers {servers:?}, search {search:?}, options {options:?}"));
    }
    if store.host_gateway()? != config.host_gateway {
        change.set_setting(Setting::HostGateway, &config.host_gateway)?;
        let addresses: Vec<String> = config.host_gateway.iter().map(ToString::to_string).collect();
        let is_default = addresses.is_empty();
        let detail =
            if is_default { "the default network's gateway".to_owned() } else { addresses.join(", ") };
        set(deeds, "host-gateway", detail);
    }
    Ok(())
}

/// What holds for networks that are yet to be made, and how all are reached.
fn networks(store: &Store, change: &Change<'_>, config: &Config, deeds: &mut Vec<Deed>) -> Result<(), Error> {
    if store.address_pools()? != config.pools {
        change.set_setting(Setting::AddressPools, &config.pools)?;
        let pools: Vec<String> =
            config.pools.iter().map(|pool| format!("{} in /{}", pool.base, pool.size)).collect();
        let pools = if pools.is_empty() { "as Docker".to_owned() } else { pools.join(", ") };
        set(deeds, "default-address-pools", pools);
    }
    if store.network_options()? != config.network_options {
        change.set_setting(Setting::NetworkOptions, &config.network_options)?;
        let options: Vec<String> = config
            .network_options
            .iter()
            .flat_map(|(driver, pairs)| {
                pairs.iter().map(move |(key, value)| format!("{driver} {key}={value}"))
            })
            .collect();
        let options = if options.is_empty() { "none".to_owned() } else { options.join(", ") };
        set(deeds, "default-network-opts", options);
    }
    if store.allows_direct_routing()? != config.allows_direct_routing {
        change.set_setting(Setting::DirectRouting, &config.allows_direct_routing)?;
        set(deeds, "allow-direct-routing", config.allows_direct_routing.to_string());
    }
    Ok(())
}

/// Names with values of the last file that this one does not name, and that nobody has changed since.
fn dropped<'a, T: Eq>(
    (before, after): (&'a BTreeMap<String, T>, &'a BTreeMap<String, T>),
    is: impl Fn(&str) -> Option<T>,
) -> impl Iterator<Item = &'a str> {
    let left = before.iter().filter(|(name, _)| !after.contains_key(*name));
    left.filter(move |(name, value)| is(name).as_ref() == Some(*value)).map(|(name, _)| name.as_str())
}

fn limits(
    store: &Store,
    change: &Change<'_>,
    (before, after): (&OfFile, &OfFile),
    deeds: &mut Vec<Deed>,
) -> Result<(), Error> {
    let named = |name: &str| Limit::ALL.iter().copied().find(|limit| limit.name() == name);
    let is: BTreeMap<_, _> = store.limits()?.into_iter().collect();
    let value = |name: &str| is.get(&named(name)?).copied();
    for limit in dropped((&before.limits, &after.limits), value).filter_map(named) {
        change.reset_limit(limit)?;
        set(deeds, limit.name(), format!("{}, as at first", limit.default_value()));
    }
    for (name, wanted) in &after.limits {
        let Some(limit) = named(name) else { continue };
        if is.get(&limit).copied().unwrap_or(limit.default_value()) != *wanted {
            change.set_limit(limit, *wanted)?;
            set(deeds, name, wanted.to_string());
        }
    }
    Ok(())
}

fn timers(
    store: &Store,
    change: &Change<'_>,
    (before, after): (&OfFile, &OfFile),
    deeds: &mut Vec<Deed>,
) -> Result<(), Error> {
    let named = |name: &str| State::ALL.iter().copied().find(|state| state.name() == name);
    let is: BTreeMap<_, _> = store.timers()?.into_iter().collect();
    let value = |name: &str| is.get(&named(name)?).copied();
    for state in dropped((&before.timers, &after.timers), value).filter_map(named) {
        change.reset_timer(state)?;
        set(deeds, state.name(), format!("{} s, as at first", state.default_seconds()));
    }
    for (name, wanted) in &after.timers {
        let Some(state) = named(name) else { continue };
        if is.get(&state).copied().unwrap_or(state.default_seconds()) != *wanted {
            change.set_timer(state, *wanted)?;
            set(deeds, name, format!("{wanted} s"));
        }
    }
    Ok(())
}

fn defaults(
    store: &Store,
    change: &Change<'_>,
    (before, after): (&OfFile, &OfFile),
    deeds: &mut Vec<Deed>,
) -> Result<(), Error> {
    let rows = store.defaults()?.rows();
    let value =
        |name: &str| rows.iter().find(|(known, ..)| *known == name).map(|(_, is, _)| (*is).to_owned());
    for name in dropped((&before.defaults, &after.defaults), value) {
        change.reset_default(name)?;
        let first = Defaults::default().rows().into_iter().find(|(known, ..)| *known == name);
        set(deeds, name, format!("{}, as at first", first.map_or("", |(_, _, first)| first)));
    }
    for (name, wanted) in &after.defaults {
        if value(name).as_ref() != Some(wanted) {
            change.set_default(name, wanted)?;
            set(deeds, name, wanted.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(store: &Store, config: &Config) -> Vec<String> {
        let change = store.begin().unwrap();
        let mut deeds = Vec::new();
        edit(store, &change, config, &mut deeds).unwrap();
        change.commit().unwrap();
        deeds.into_iter().map(|deed| format!("{}: {}", deed.name, deed.detail)).collect()
    }

    #[test]
    fn what_the_file_names_no_more_is_as_at_first_unless_somebody_has_set_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut config = Config::default();
        config.settings.limits = vec![(Limit::Flows, 1000), (Limit::Ports, 300)];
        config.settings.timers = vec![(State::Icmp, 90)];
        config.settings.defaults = vec![("udp-filtering".to_owned(), "endpoint-independent".to_owned())];
        config.network_options = [("bridge".to_owned(), vec![("mtu".to_owned(), "1400".to_owned())])].into();
        assert_eq!(edited(&store, &config).len(), 5);
        assert!(edited(&store, &config).is_empty());
        let change = store.begin().unwrap();
        change.set_limit(Limit::Ports, 400).unwrap();
        change.set_limit(Limit::HalfOpen, 77).unwrap();
        change.commit().unwrap();
        let said = edited(&store, &Config::default());
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("flows: ") && line.ends_with(", as at first")));
        assert_eq!(store.limits().unwrap().len(), 2, "these were set by hand");
        assert_eq!(store.limit(Limit::Ports).unwrap(), 400);
        assert!(store.timers().unwrap().is_empty());
        assert_eq!(store.defaults().unwrap(), Defaults::default());
        assert!(store.network_options().unwrap().is_empty());
        assert!(edited(&store, &Config::default()).is_empty());
    }
}
