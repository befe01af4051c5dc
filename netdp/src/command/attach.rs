//! `netdp attach`: joins a network namespace to a network.

use std::io::Write;

use super::Context;
use super::join::{Container, Request, join};
use crate::Error;
use crate::cli::Attach;
use crate::host::bpffs;
use crate::instance::{Session, find_network};
use crate::model::{AttachmentOptions, EndpointOptions};
use crate::output;
use crate::process::Processes;
use crate::publish;

pub(super) async fn attach<W: Write>(context: &mut Context<'_, W>, args: &Attach) -> Result<(), Error> {
    if !bpffs::is_mounted(&bpffs::path(&context.place.run_dir)) {
        return Err(Error::NotUp);
    }
    let container = Container::open(args.netns.as_deref(), args.pid)?;
    let mut session = Session::begin(&context.place).await?;
    session.kernel.datapath()?;
    let networks = session.store.networks()?;
    let network = find_network(&networks, &args.network)?;
    let known = session.store.endpoint(args.name.as_str())?.map(|endpoint| endpoint.id);
    Processes::of(&session.place).name_is_free(&args.name, known.as_ref())?;
    let endpoint = join(&mut session, &networks, network, &container, &request(args)).await?;
    if context.is_json() {
        return Ok(output::document(context.out, &output::endpoint(&endpoint, &networks, "running"))?);
    }
    Ok(writeln!(context.out, "{}", endpoint.id)?)
}

fn request(args: &Attach) -> Request {
    Request {
        id: None,
        name: args.name.clone(),
        ip: args.ip,
        ip6: args.ip6,
        mac_address: args.mac_address,
        ports: publish::with_exposed(&args.publish, &args.expose, args.publish_all),
        ifname: args.ifname.clone(),
        attachment: AttachmentOptions::default(),
        endpoint: EndpointOptions { exposed: publish::exposed(&args.expose), ..EndpointOptions::default() },
    }
}
