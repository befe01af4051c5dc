//! What `-f` of `network ls` and `--filter` of `network prune` choose by, as Docker does: one key several times is either of
//! the values, several labels are all of them, and different keys must all hold.

use std::collections::BTreeMap;

use crate::Error;
use crate::bridge_options::boolean;
use crate::model::{Endpoint, Network};

/// A wish of `network ls`.
const OF_LS: [&str; 7] = ["driver", "id", "label", "name", "scope", "type", "dangling"];
/// A wish of `network prune`.
const OF_PRUNE: [&str; 3] = ["label", "label!", "until"];

/// What a network must be like.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Filter {
    wishes: BTreeMap<String, Vec<String>>,
}

impl Filter {
    /// The filters of `network ls`.
    pub(super) fn of_ls(pairs: &[(String, String)]) -> Result<Self, Error> {
        let filter = Self::read(pairs, &OF_LS)?;
        for value in filter.values("type") {
            if !["custom", "builtin"].contains(&value.as_str()) {
                return Err(Error::invalid_value("-f type", value, "custom or builtin"));
            }
        }
        filter.values("dangling").iter().try_for_each(|value| boolean("-f dangling", value).map(drop))?;
        Ok(filter)
    }

    /// The filters of `network prune`, at a moment in seconds since 1970.
    pub(super) fn of_prune(pairs: &[(String, String)], now: u64) -> Result<Self, Error> {
        let mut filter = Self::read(pairs, &OF_PRUNE)?;
        if let Some(values) = filter.wishes.get_mut("until") {
            for value in values {
                let limit =
                    until(value, now).ok_or_else(|| Error::invalid_value("--filter until", value, UNTIL))?;
                *value = limit.to_string();
            }
        }
        Ok(filter)
    }

    fn read(pairs: &[(String, String)], known: &[&str]) -> Result<Self, Error> {
        let mut filter = Self::default();
        for (key, value) in pairs {
            if !known.contains(&key.as_str()) {
                let known = known.iter().map(|key| format!("{key}=")).collect::<Vec<_>>().join(", ");
                return Err(Error::UnknownOption { key: format!("filter {key}"), known });
            }
            filter.wishes.entry(key.clone()).or_default().push(value.clone());
        }
        Ok(filter)
    }

    fn values(&self, key: &str) -> &[String] {
        self.wishes.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether a network is like that.
    pub(super) fn accepts(&self, network: &Network, endpoints: &[Endpoint]) -> bool {
        self.wishes.iter().all(|(key, values)| {
            let holds = |value: &String| holds(key, value, network, endpoints);
            match key.as_str() {
                "label" | "label!" => values.iter().all(holds),
                _ => values.iter().any(holds),
            }
        })
    }
}

fn holds(key: &str, value: &str, network: &Network, endpoints: &[Endpoint]) -> bool {
    match key {
        "driver" => network.driver.name() == value,
        "id" => network.id.as_str().starts_with(value),
        "label" => has_label(network, value),
        "label!" => !has_label(network, value),
        "name" => network.name.as_str().contains(value),
        "scope" => value == "local",
        "type" => network.premade() == (value == "builtin"),
        "dangling" => boolean(key, value).is_ok_and(|wanted| wanted == is_dangling(network, endpoints)),
        // In seconds since 1970 by now.
        "until" => value.parse().is_ok_and(|limit: u64| network.created < limit),
        _ => false,
    }
}

/// Nobody is attached, and it could be removed.
fn is_dangling(network: &Network, endpoints: &[Endpoint]) -> bool {
    let mut attachments = endpoints.iter().flat_map(|endpoint| &endpoint.attachments);
    !network.premade() && attachments.all(|attachment| attachment.network != network.number)
}

/// `key` alone asks for the label, `key=value` for its value too.
fn has_label(network: &Network, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => network.labels.get(key).is_some_and(|label| label == value),
        None => network.labels.contains_key(wanted),
    }
}

const UNTIL: &str = "an age, as in 90s, 10m, 24h or 1h30m, or seconds since 1970";

/// The moment that is meant by an age, or by itself.
fn until(text: &str, now: u64) -> Option<u64> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let (mut rest, mut age) = (text, 0_u64);
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|letter: char| !letter.is_ascii_digit())?);
        let seconds = match behind.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        age = age.checked_add(number.parse::<u64>().ok()?.checked_mul(seconds)?)?;
        rest = behind.get(1..)?;
    }
    (!text.is_empty()).then(|| now.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::Driver;
    use crate::names::Id;

    fn network(name: &str, labels: &[(&str, &str)]) -> Network {
        Network {
            number: 1,
            id: Id::stored(format!("{:064x}", 0xabc)),
            name: name.parse().unwrap(),
            created: 1000,
            driver: Driver::Host,
            options: BTreeMap::new(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn one_key_twice_is_either_and_two_labels_are_both() {
        let accepts = |filters: &[(&str, &str)]| {
            let filter = Filter::of_ls(&pairs(filters)).unwrap();
            filter.accepts(&network("blue", &[("a", "1"), ("b", "2")]), &[])
        };
        assert!(accepts(&[]));
        assert!(accepts(&[("name", "red"), ("name", "lu")]));
        assert!(!accepts(&[("name", "blue"), ("driver", "bridge")]));
        assert!(accepts(&[("label", "a"), ("label", "b=2")]));
        assert!(!accepts(&[("label", "a"), ("label", "b=3")]));
        assert!(accepts(&[("type", "builtin"), ("scope", "local"), ("dangling", "false")]));
        assert!(!accepts(&[("type", "custom")]));
    }

    #[test]
    fn prune_asks_for_age_and_labels() {
        let accepts = |filters: &[(&str, &str)]| {
            let filter = Filter::of_prune(&pairs(filters), 5000).unwrap();
            filter.accepts(&network("blue", &[("a", "1")]), &[])
        };
        assert!(accepts(&[("until", "1h")]));
        assert!(!accepts(&[("until", "1h30m")]));
        assert!(!accepts(&[("until", "1000")]));
        assert!(accepts(&[("until", "1001"), ("label!", "b")]));
        assert!(!accepts(&[("label!", "a=1")]));
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        let said = |result: Result<Filter, Error>| result.unwrap_err().to_string();
        assert!(said(Filter::of_ls(&pairs(&[("colour", "red")]))).contains("driver=, id=, label="));
        assert!(said(Filter::of_ls(&pairs(&[("type", "red")]))).contains("custom or builtin"));
        assert!(said(Filter::of_ls(&pairs(&[("dangling", "red")]))).contains("true or false"));
        for age in ["", "x", "10x", "h", "1h2", "99999999999999999999h"] {
            assert!(said(Filter::of_prune(&pairs(&[("until", age)]), 0)).contains("24h"), "{age}");
        }
    }
}
