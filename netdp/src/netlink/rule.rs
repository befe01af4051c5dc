//! Rules that choose a routing table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{CHANGE, CREATE, Error, Netlink, Request};

/// Which packets ask which routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The lowest is asked first.
    pub priority: u32,
    /// Only packets from this address; unspecified is all of the family.
    pub source: IpAddr,
    /// The table.
    pub table: u32,
    /// Its default routes do not count.
    pub without_default: bool,
}

impl Netlink {
    /// Every rule, IPv4 and IPv6.
    pub async fn rules(&self) -> Result<Vec<Rule>, Error> {
        let what = Request { operation: "list", object: "routing rules" };
        let mut rules = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let answers = self.dump(what, RouteNetlinkMessage::GetRule(message)).await?;
            rules.extend(answers.iter().filter_map(rule_in));
        }
        Ok(rules)
    }

    /// Adds a rule; one that is there already stays.
    pub async fn add_rule(&self, rule: &Rule) -> Result<(), Error> {
        let object = rule.to_string();
        let what = Request { operation: "add routing rule", object: &object };
        match self.execute(what, RouteNetlinkMessage::NewRule(rule.message()), CREATE).await {
            Err(error) if error.is_exists() => Ok(()),
            result => result,
        }
    }

    /// Deletes a rule.
    pub async fn delete_rule(&self, rule: &Rule) -> Result<(), Error> {
        let object = rule.to_string();
        let what = Request { operation: "delete routing rule", object: &object };
        self.execute(what, RouteNetlinkMessage::DelRule(rule.message()), CHANGE).await
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: from {} lookup {}", self.priority, self.source, self.table)
    }
}

impl Rule {
    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        (message.header.family, message.header.src_len) = match self.source {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![RuleAttribute::Priority(self.priority), RuleAttribute::Table(self.table)];
        if self.source.is_unspecified() {
            message.header.src_len = 0;
        } else {
            message.attributes.push(RuleAttribute::Source(self.source));
        }
        if self.without_default {
            message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
        }
        message
    }
}

fn rule_in(answer: &RouteNetlinkMessage) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = answer else { return None };
    let source = match message.header.family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let table = message.header.table.into();
    let mut rule = Rule { priority: 0, source, table, without_default: false };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Source(source) => rule.source = *source,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::SuppressPrefixLen(0) => rule.without_default = true,
            _ => {}
        }
    }
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_was_written() {
        for (source, without_default) in
            [("10.1.0.2", false), ("fd00::2", false), ("0.0.0.0", true), ("::", true)]
        {
            let rule =
                Rule { priority: 30_001, source: source.parse().unwrap(), table: 70_000, without_default };
            assert_eq!(rule_in(&RouteNetlinkMessage::NewRule(rule.message())), Some(rule));
        }
    }
}
