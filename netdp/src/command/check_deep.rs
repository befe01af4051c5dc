//! `netdp check --deep`: whether the kernel has what the database says, all of it and nothing else.

use std::io::Write;

use serde_json::{Value, json};

use super::{Context, check};
use crate::Error;
use crate::audit::{self, Difference, Expected, Interface, Kind, Owners};
use crate::desired::{Desired, veth_alias};
use crate::host::lock;
use crate::instance::{self, Place, parts};
use crate::model::{Attachment, Endpoint, LanMode, Network};
use crate::output;
use crate::plan::{Observed, plan};
use crate::store::Store;
use crate::ways::Ways;
use crate::world::{Kernel, Scope, World, inside, open_netns};

pub(super) async fn check<W: Write>(context: &mut Context<'_, W>) -> Result<(), Error> {
    check::privileged()?;
    let mut report = look(&context.place).await?;
    report.differences.sort();
    if context.is_json() {
        output::document(context.out, &report.document())?;
    } else {
        report.print(context.out)?;
    }
    context.out.flush()?;
    if report.differences.is_empty() { Ok(()) } else { Err(Error::Differs(report.in_words())) }
}

/// What was compared, and where it differs.
struct Report {
    differences: Vec<Difference>,
    /// So many of each were compared.
    counts: Vec<(&'static str, usize)>,
    /// Endpoints whose namespace is gone: neither side has anything of them.
    gone: Vec<String>,
}

/// With the lock, so that no command is half done meanwhile.
async fn look(place: &Place) -> Result<Report, Error> {
    let mut kernel = Kernel::here(&place.run_dir, place.named_uplinks()?)?;
    kernel.datapath()?;
    let _guard = lock::change(&place.run_dir).await?;
    let store = Store::read(&place.state_dir)?.ok_or(Error::NotUp)?;
    let (networks, endpoints) = (store.networks()?, store.endpoints()?);
    let mut observed = kernel.observe(Scope::Everything).await?;
    let (alive, gone): (Vec<Endpoint>, Vec<Endpoint>) =
        endpoints.into_iter().partition(|endpoint| is_alive(endpoint, &networks, &observed));
    let mut desired = instance::wanted(&store, &networks, &observed)?;
    for part in alive.iter().flat_map(|endpoint| parts(endpoint, &networks)) {
        part.add_to(&mut desired);
    }
    for endpoint in &alive {
        desired.lead_datagrams(endpoint, &networks);
    }
    // On a LAN all there is is in the container, and is compared there.
    observed.lans = desired.lans.keys().cloned().collect();
    let owners = Owners::new(&networks, &alive, &observed);
    let mut differences = audit::host(&desired, &observed, &plan(&desired, &observed)?, &owners);
    differences.extend(audit::twice(&networks, &alive));
    differences.extend(unfinished(place)?);
    for endpoint in &alive {
        differences.extend(inside_of(endpoint, &networks, &desired).await);
    }
    let counts = counts(&networks, &alive, &desired);
    Ok(Report { differences, counts, gone: gone.iter().map(|endpoint| endpoint.name.to_string()).collect() })
}

/// One that has a link lives, as `ps` has it, though its path may be gone.
fn is_alive(endpoint: &Endpoint, networks: &[Network], observed: &Observed) -> bool {
    parts(endpoint, networks).iter().any(|part| part.is_there(observed))
        || open_netns(&endpoint.netns).is_ok()
}

fn unfinished(place: &Place) -> Result<Option<Difference>, Error> {
    let mark = place.unfinished()?.map(|_links| Difference {
        kind: Kind::Surplus,
        what: "mark of a command that was cut short".to_owned(),
        owner: String::new(),
        detail: "the next command that changes something puts right what it left".to_owned(),
    });
    Ok(mark)
}

async fn inside_of(endpoint: &Endpoint, networks: &[Network], desired: &Desired) -> Vec<Difference> {
    let interfaces: Vec<Interface> =
        endpoint.attachments.iter().filter_map(|attachment| interface(attachment, desired)).collect();
    if interfaces.is_empty() {
        return Vec::new();
    }
    let name = endpoint.name.to_string();
    let expected = Expected { endpoint: name.clone(), interfaces, ways: Ways::of(endpoint, networks) };
    match inside::observe(&endpoint.netns).await {
        Ok((found, rules)) => audit::inside(&expected, &found, &rules),
        Err(error) => vec![Difference {
            kind: Kind::Missing,
            what: "network namespace".to_owned(),
            owner: format!("endpoint {name}"),
            detail: error.to_string(),
        }],
    }
}

fn interface(attachment: &Attachment, desired: &Desired) -> Option<Interface> {
    if let Some(veth) = desired.veths.get(&attachment.veth()) {
        let inside = veth.inside.clone();
        return Some(Interface { mac: Some(inside.mac), mtu: Some(veth.mtu), inside });
    }
    let lan = desired.lans.get(&veth_alias(attachment))?;
    let inside = lan.inside.clone();
    let mac = matches!(lan.mode, LanMode::Macvlan(_)).then_some(inside.mac);
    Some(Interface { inside, mac, mtu: lan.mtu })
}

fn counts(networks: &[Network], endpoints: &[Endpoint], desired: &Desired) -> Vec<(&'static str, usize)> {
    let attachments = || endpoints.iter().flat_map(|endpoint| &endpoint.attachments);
    vec![
        ("networks", networks.len()),
        ("endpoints", endpoints.len()),
        ("interfaces", desired.veths.len() + desired.lans.len() + desired.bridges.len()),
        ("addresses", attachments().map(|attachment| attachment.addresses().count()).sum()),
        ("ports", attachments().map(|attachment| attachment.ports.len()).sum()),
        ("programs", desired.hooks.len()),
        ("rows", desired.rows.len()),
    ]
}

impl Report {
    fn in_words(&self) -> String {
        let count = self.differences.len();
        if count == 1 { "1 difference".to_owned() } else { format!("{count} differences") }
    }

    fn document(&self) -> Value {
        let difference = |it: &Difference| json!({ "kind": it.kind.word(), "what": it.what, "owner": it.owner, "detail": it.detail });
        json!({
            "equal": self.differences.is_empty(),
            "compared": self.counts.iter().map(|(what, count)| ((*what).to_owned(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
            "gone": self.gone,
        })
    }

    fn print(&self, out: &mut impl Write) -> Result<(), Error> {
        if !self.differences.is_empty() {
            let row = |it: &Difference| {
                vec![it.kind.word().to_owned(), it.what.clone(), it.owner.clone(), it.detail.clone()]
            };
            let rows = self.differences.iter().map(row).collect();
            output::table(out, &["STATE", "WHAT", "OF", "DETAIL"], rows)?;
        }
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let verdict = if self.differences.is_empty() {
            "database and kernel agree".to_owned()
        } else {
            self.in_words()
        };
        writeln!(out, "{verdict}: {}", counts.join(", "))?;
        if !self.gone.is_empty() {
            writeln!(out, "namespace gone: {}", self.gone.join(", "))?;
        }
        Ok(())
    }
}
