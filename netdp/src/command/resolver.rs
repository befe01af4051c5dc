//! `netdp resolver`: answers containers that ask for names, until it is told to end or there is nothing left to serve.

use std::time::Duration;

use super::Context;
use crate::Error;
use crate::cli::Resolver;
use crate::dns::process;
use crate::dns::resolv_conf::ResolvConf;
use crate::dns::server::Server;
use crate::host::lock;
use crate::service::Ending;
use crate::world::Kernel;

/// How often it is looked whether the run directory is still there.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn resolver<W>(context: &Context<'_, W>, args: &Resolver) -> Result<(), Error> {
    process::leave_parent();
    process::make_room();
    let place = &context.place;
    let ending = Ending::listen()?;
    let kernel = Kernel::here(&place.run_dir, Vec::new())?;
    // Before the one that serves now ends: no query finds nobody.
    let upstreams = ResolvConf::new(&args.resolv_conf, &args.dns);
    let server = Server::begin(kernel.datapath()?, &place.state_dir, upstreams)?;
    let _only = process::take_over(&place.run_dir).await?;
    tracing::info!("serving names");
    let gone = async {
        while lock::is_resolver_wanted(&place.run_dir) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = ending.come() => server.end().await,
        () = gone => {}
    }
    Ok(())
}
