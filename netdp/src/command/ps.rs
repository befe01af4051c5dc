//! `netdp ps`.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::{Value, json};

use super::Context;
use crate::Error;
use crate::cli::Ps;
use crate::instance;
use crate::model::{Endpoint, Network};
use crate::netlink::Netlink;
use crate::output;
use crate::process::{Processes, Record};

const HEADINGS: [&str; 7] = ["ENDPOINT ID", "NAME", "COMMAND", "STATUS", "ADDRESSES", "PORTS", "NETNS"];

pub(super) async fn ps<W: Write>(context: &mut Context<'_, W>, args: &Ps) -> Result<(), Error> {
    let (networks, endpoints) = instance::read(&context.place)?;
    let records = Processes::of(&context.place).all()?;
    let links = Netlink::here()?.link_names().await?;
    let all = lines(endpoints, records, &links);
    let shown: Vec<Line> = all.into_iter().filter(|line| args.all || line.state == "running").collect();
    if context.is_json() {
        let documents: Vec<Value> = shown.iter().map(|line| line.document(&networks)).collect();
        return Ok(output::document(context.out, &json!(documents))?);
    }
    if args.quiet {
        for line in shown {
            writeln!(context.out, "{}", line.endpoint.id.short(output::SHORT))?;
        }
        return Ok(());
    }
    let rows = shown.iter().map(|line| line.row(&networks)).collect();
    Ok(output::table(context.out, &HEADINGS, rows)?)
}

/// An endpoint, a process, or one that is both.
pub(super) struct Line {
    endpoint: Endpoint,
    record: Option<Record>,
    state: &'static str,
}

impl Line {
    /// Of an endpoint, with its process if netdp has started one.
    pub(super) fn new(endpoint: Endpoint, record: Option<Record>, links: &BTreeSet<String>) -> Self {
        let state = match &record {
            Some(record) => record.status(),
            None => instance::state(&endpoint, links),
        };
        Self { endpoint, record, state }
    }

    /// Of a process that has no endpoint.
    pub(super) fn of_process(record: Record) -> Self {
        Self { endpoint: output::without_endpoint(&record), state: record.status(), record: Some(record) }
    }

    /// As `inspect` prints it.
    pub(super) fn document(&self, networks: &[Network]) -> Value {
        let mut document = output::endpoint(&self.endpoint, networks, self.state);
        if let Some(record) = &self.record {
            output::add_process(&mut document, record);
        }
        document
    }

    fn row(&self, networks: &[Network]) -> Vec<String> {
        let endpoint = &self.endpoint;
        let name =
            |number| networks.iter().find(|network| network.number == number).map(|it| it.name.as_str());
        let joined = endpoint.attachments.iter();
        let addresses: Vec<String> = joined
            .flat_map(|it| it.addresses().map(|address| (it.network, address)))
            .map(|(network, address)| format!("{}={address}", name(network).unwrap_or_default()))
            .collect();
        let ports: Vec<String> =
            endpoint.attachments.iter().flat_map(|attachment| &attachment.ports).map(output::port).collect();
        let status = self.record.as_ref().map(|record| output::status(record, instance::now()));
        vec![
            endpoint.id.short(output::SHORT).to_owned(),
            endpoint.name.to_string(),
            self.record.as_ref().map(output::command).unwrap_or_default(),
            status.unwrap_or_else(|| self.state.to_owned()),
            addresses.join(" "),
            ports.join(", "),
            endpoint.netns.path.display().to_string(),
        ]
    }
}

fn lines(endpoints: Vec<Endpoint>, mut records: Vec<Record>, links: &BTreeSet<String>) -> Vec<Line> {
    let mut lines = Vec::new();
    for endpoint in endpoints {
        let at = records.iter().position(|record| record.id == endpoint.id);
        let record = at.map(|at| records.remove(at));
        lines.push(Line::new(endpoint, record, links));
    }
    lines.extend(records.into_iter().map(Line::of_process));
    lines.sort_by_key(|line| line.endpoint.created);
    lines
}
