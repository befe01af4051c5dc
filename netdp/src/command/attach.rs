//! `netdp attach`: joins a network namespace to a network.

use std::io::Write;

use super::Context;
use super::host_gateway::HostGateway;
use super::join::{self, Container, Request, join};
use super::lease::{self, Applicant, Granted};
use crate::Error;
use crate::cli::{Attach, LinkArg};
use crate::host::bpffs;
use crate::instance::{self, Place, Session, find_endpoint, find_network};
use crate::model::{AttachmentOptions, DEFAULT_NETWORK, Endpoint, EndpointOptions, Network, Resolver};
use crate::names::Name;
use crate::output;
use crate::process::{self, Processes};
use crate::publish;

pub(super) async fn attach<W: Write>(context: &mut Context<'_, W>, args: &Attach) -> Result<(), Error> {
    if !bpffs::is_mounted(&bpffs::path(&context.place.run_dir)) {
        return Err(Error::NotUp);
    }
    let container = Container::open(args.netns.as_deref(), args.pid)?;
    let granted = ask_ahead(&context.place, args, &container).await?;
    let joined = join_with(&context.place, args, &container, granted.clone()).await;
    let (endpoint, networks) = lease::or_give_back(&context.place, granted.as_ref(), joined).await?;
    if context.is_json() {
        return Ok(output::document(context.out, &output::endpoint(&endpoint, &networks, "running"))?);
    }
    Ok(writeln!(context.out, "{}", endpoint.id)?)
}

/// An address of a network whose server gives them; what is refused anyway is so before it is asked.
async fn ask_ahead(place: &Place, args: &Attach, container: &Container) -> Result<Option<Granted>, Error> {
    let (networks, endpoints) = instance::read(place)?;
    let network = find_network(&networks, &args.network);
    let Some(network) = network.ok().filter(|network| network.is_by_dhcp()) else { return Ok(None) };
    let known = endpoints.iter().find(|endpoint| endpoint.name == args.name);
    Processes::of(place).name_is_free(&args.name, known.map(|known| &known.id))?;
    let mut request = request(args, None);
    request.attachment.links = links(&endpoints, network, &args.links)?;
    join::may_ask(network, &endpoints, container, &request)?;
    let applicant = Applicant { name: &args.name, ip: args.interface.ip, mac: args.interface.mac_address };
    lease::ask_ahead(place, &args.network, applicant).await
}

/// The endpoint, and the networks that there are.
async fn join_with(
    place: &Place,
    args: &Attach,
    container: &Container,
    granted: Option<Granted>,
) -> Result<(Endpoint, Vec<Network>), Error> {
    let mut session = Session::begin(place).await?;
    session.kernel.datapath()?;
    let networks = session.store.networks()?;
    let network = find_network(&networks, &args.network)?;
    network_scoped(network, &args.aliases)?;
    let known = session.store.endpoint(args.name.as_str())?.map(|endpoint| endpoint.id);
    Processes::of(&session.place).name_is_free(&args.name, known.as_ref())?;
    let mut request = request(args, granted);
    request.attachment.links = links(&session.store.endpoints()?, network, &args.links)?;
    request.endpoint.extra_hosts = HostGateway::of(&session.store, &networks)?.lines(&args.add_hosts)?;
    let endpoint = join(&mut session, &networks, network, container, &request).await?;
    Ok((endpoint, networks))
}

/// The default network knows no names, as in Docker.
pub(super) fn network_scoped(network: &Network, aliases: &[Name]) -> Result<(), Error> {
    if network.name.as_str() == DEFAULT_NETWORK && !aliases.is_empty() {
        return Err(process::Error::Alias.into());
    }
    Ok(())
}

/// Names for others of the network. On the default one a link leads to somebody who is there, as in Docker; on any other it is
/// another word for a name of the network, and may be of one who is yet to come.
pub(super) fn links(
    endpoints: &[Endpoint],
    network: &Network,
    asked: &[LinkArg],
) -> Result<Vec<(String, String)>, Error> {
    let link = |LinkArg { target, alias }: &LinkArg| {
        if network.name.as_str() != DEFAULT_NETWORK {
            return Ok((alias.clone(), target.clone()));
        }
        let other = find_endpoint(endpoints, target)?;
        if other.attachments.iter().any(|it| it.network == network.number) {
            return Ok((alias.clone(), other.name.to_string()));
        }
        let why = "it is not on the default network, where a link begins";
        Err(process::Error::Link { target: target.clone(), alias: alias.clone(), why }.into())
    };
    asked.iter().map(link).collect()
}

fn request(args: &Attach, granted: Option<Granted>) -> Request {
    Request {
        id: None,
        name: args.name.clone(),
        ip: args.interface.ip,
        ip6: args.interface.ip6,
        mac_address: args.interface.mac_address,
        ports: publish::with_exposed(&args.publish, &args.expose, args.publish_all),
        ifname: args.interface.asked_ifname(),
        attachment: AttachmentOptions {
            aliases: args.aliases.iter().map(ToString::to_string).collect(),
            links: Vec::new(),
            gw_priority: args.interface.gw_priority,
            sysctls: args.interface.asked_sysctls(),
        },
        endpoint: options(args),
        granted,
    }
}

fn options(args: &Attach) -> EndpointOptions {
    EndpointOptions {
        hostname: args.hostname.clone(),
        exposed: publish::exposed(&args.expose),
        labels: args.labels.iter().cloned().collect(),
        resolver: Resolver {
            servers: args.dns.clone(),
            search: args.dns_search.clone(),
            options: args.dns_options.clone(),
        },
        ..EndpointOptions::default()
    }
}
