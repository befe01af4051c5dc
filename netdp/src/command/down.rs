//! `netdp down`: takes away everything that netdp made on this host.

use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Context, lease};
use crate::Error;
use crate::cli::Down;
use crate::desired::Desired;
use crate::dns::process;
use crate::host::lock;
use crate::instance::{self, Place};
use crate::plan::teardown;
use crate::reconcile;
use crate::store;
use crate::world::{Kernel, Scope, World};

/// How long a controller may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const INTERVAL: Duration = Duration::from_millis(20);

pub(super) async fn down<W: Write>(context: &mut Context<'_, W>, args: &Down) -> Result<(), Error> {
    let place = &context.place;
    // An instance that never was up, or whose run directory went with a reboot, has nothing to take away.
    if place.run_dir.is_dir() {
        end_controller(place).await?;
        process::end(&place.run_dir).await?;
        take_away(place).await?;
    }
    if args.purge {
        lease::give_back_all(place);
        store::purge(&place.state_dir);
    }
    Ok(())
}

/// The controller would follow the change and has nothing left to serve.
async fn end_controller(place: &Place) -> Result<(), Error> {
    let begin = Instant::now();
    let mut told = None;
    while let Some(pid) = lock::controller_pid(&place.run_dir) {
        if begin.elapsed() > PATIENCE {
            return Err(Error::ControllerStays(pid));
        }
        if told.replace(pid) != Some(pid) {
            let pid = Pid::from_raw(pid.cast_signed());
            kill(pid, Signal::SIGTERM).map_err(|error| Error::io("end the controller")(error.into()))?;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(())
}

async fn take_away(place: &Place) -> Result<(), Error> {
    let _guard = lock::change(&place.run_dir).await?;
    // A datapath of another version cannot be opened, but what it attached can be taken off.
    let mut kernel = match Kernel::here(&place.run_dir, Vec::new()) {
        Err(Error::Datapath(error)) => {
            tracing::warn!("{error}: taking it off");
            Kernel::without_foreign(&place.run_dir).await?
        }
        other => other?,
    };
    kernel.adopt(place.unfinished()?);
    let observed = kernel.observe(Scope::Everything).await?;
    let mut errors = Vec::new();
    for part in beside(place) {
        errors.extend(instance::take_down(&mut kernel, &part).await.err());
    }
    errors.extend(reconcile::remove(&mut kernel, &teardown(&observed)).await.err());
    Error::all(errors)?;
    place.forget();
    Ok(())
}

/// What only the database tells of: interfaces on a LAN, which are in their containers, and bridges of somebody else's.
fn beside(place: &Place) -> Vec<Desired> {
    let (networks, endpoints) = instance::read(place).unwrap_or_else(|error| {
        tracing::warn!("interfaces on a LAN and what others' bridges were given stay: {error}");
        (Vec::new(), Vec::new())
    });
    let parts = endpoints.iter().flat_map(|endpoint| instance::parts(endpoint, &networks));
    let on_lans = parts.map(|part| part.alone()).filter(|part| !part.lans.is_empty());
    let borrowed = networks.iter().filter(|it| it.bridge().is_some_and(|bridge| bridge.borrowed.is_some()));
    let borrowed = borrowed.map(|network| {
        let mut desired = Desired::default();
        desired.add_network(network);
        desired
    });
    on_lans.chain(borrowed).collect()
}
