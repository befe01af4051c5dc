//! `netdp network connect` and `netdp network disconnect`.

use std::io::Write;

use super::Context;
use super::attach::{links, network_scoped};
use super::detach::{self, Rest};
use super::join::{self, Container, Request, join};
use super::lease::{self, Applicant, Granted};
use crate::Error;
use crate::cli::{NetworkConnect, NetworkDisconnect};
use crate::host::bpffs;
use crate::instance::{self, Place, Session, find_endpoint, find_network};
use crate::model::{AttachmentOptions, Endpoint, EndpointOptions, Network};
use crate::process::{self, Mode, Processes};
use crate::store::Store;
use crate::world::open_netns;

/// Joins an endpoint to one more network.
pub(super) async fn connect<W: Write>(
    context: &mut Context<'_, W>,
    args: &NetworkConnect,
) -> Result<(), Error> {
    if !bpffs::is_mounted(&bpffs::path(&context.place.run_dir)) {
        return Err(Error::NotUp);
    }
    let granted = ask_ahead(&context.place, args).await?;
    let joined = join_with(&context.place, args, granted.clone()).await;
    lease::or_give_back(&context.place, granted.as_ref(), joined).await
}

async fn join_with(place: &Place, args: &NetworkConnect, granted: Option<Granted>) -> Result<(), Error> {
    let mut session = Session::begin(place).await?;
    session.kernel.datapath()?;
    let (networks, endpoints) = (session.store.networks()?, session.store.endpoints()?);
    let network = find_network(&networks, &args.network)?;
    let endpoint = with_network(place, &endpoints, &args.endpoint)?;
    if endpoint.attachments.iter().any(|it| it.network == network.number) {
        let (endpoint, network) = (endpoint.name.to_string(), network.name.to_string());
        return Err(Error::AlreadyConnected { endpoint, network });
    }
    let container = Container::of(endpoint)?;
    network_scoped(network, &args.aliases)?;
    let request = Request { granted, ..request(args, endpoint, network, &endpoints)? };
    join(&mut session, &networks, network, &container, &request).await.map(drop)
}

/// The endpoint of a word. A process without one has the network of somebody else, or none.
fn with_network<'a>(place: &Place, endpoints: &'a [Endpoint], word: &str) -> Result<&'a Endpoint, Error> {
    find_endpoint(endpoints, word).map_err(|unknown| {
        let Ok(record) = Processes::of(place).find(word) else { return unknown };
        let refused = match record.mode {
            Mode::None => process::Error::NoneWithOthers,
            Mode::Host | Mode::Container(_) => process::Error::SharedWithOthers,
            // It was detached, and is no endpoint any more.
            Mode::Networks(_) if record.runs() => return unknown,
            Mode::Networks(_) => process::Error::Ended(record.name),
        };
        refused.into()
    })
}

fn request(
    args: &NetworkConnect,
    endpoint: &Endpoint,
    network: &Network,
    endpoints: &[Endpoint],
) -> Result<Request, Error> {
    let links = links(endpoints, network, &args.links)?;
    let interface = &args.interface;
    Ok(Request {
        id: None,
        name: endpoint.name.clone(),
        ip: interface.ip,
        ip6: interface.ip6,
        mac_address: interface.mac_address,
        ports: Vec::new(),
        ifname: interface.asked_ifname(),
        attachment: AttachmentOptions {
            aliases: args.aliases.iter().map(ToString::to_string).collect(),
            links,
            gw_priority: interface.gw_priority,
            sysctls: interface.asked_sysctls(),
        },
        endpoint: EndpointOptions::default(),
        granted: None,
    })
}

/// An address of a network whose server gives them; what is refused anyway is so before it is asked.
async fn ask_ahead(place: &Place, args: &NetworkConnect) -> Result<Option<Granted>, Error> {
    let (networks, endpoints) = instance::read(place)?;
    let Ok(endpoint) = find_endpoint(&endpoints, &args.endpoint) else { return Ok(None) };
    let container = Container::of(endpoint)?;
    let network = find_network(&networks, &args.network);
    let Some(network) = network.ok().filter(|network| network.is_by_dhcp()) else { return Ok(None) };
    join::may_ask(network, &endpoints, &container, &request(args, endpoint, network, &endpoints)?)?;
    let interface = &args.interface;
    let applicant = Applicant { name: &endpoint.name, ip: interface.ip, mac: interface.mac_address };
    lease::ask_ahead(place, &args.network, applicant).await
}

/// Takes an endpoint off one network. It stays, as a container in Docker does, also without any.
pub(super) async fn disconnect<W: Write>(
    context: &mut Context<'_, W>,
    args: &NetworkDisconnect,
) -> Result<(), Error> {
    // Without a database there is no network, and none is made in order to say so.
    if Store::read(&context.place.state_dir)?.is_none() {
        return find_network(&[], &args.network).map(drop);
    }
    let mut session = Session::begin(&context.place).await?;
    let (networks, endpoints) = (session.store.networks()?, session.store.endpoints()?);
    let network = find_network(&networks, &args.network)?;
    let endpoint = find_endpoint(&endpoints, &args.endpoint)?;
    let is_joined = endpoint.attachments.iter().any(|it| it.network == network.number);
    if is_joined && !args.force {
        open_netns(&endpoint.netns)?;
    }
    match detach::take_off(&mut session, &networks, endpoint, Some(network), Rest::Stays).await {
        Err(error @ Error::NotAttached { .. }) => Err(error),
        Err(error) if args.force => {
            tracing::warn!("{error}");
            session.unmark()
        }
        result => result,
    }
}
