//! The end of a process: what it had is free again, and how it ended is written down.

use crate::Error;
use crate::command::detach::{Rest, take_off};
use crate::instance::{self, Place, Session};
use crate::names::Id;
use crate::process::{Ended, Mode, Processes, Record, namespace};

/// After a process has ended with this code: by whoever waited for it.
pub(super) async fn finish(place: &Place, record: &Record, code: u8) -> Result<(), Error> {
    if let Some(mounts) = record.mounts {
        namespace::end_rest(mounts).await;
    }
    let mut session = Session::begin(place).await?;
    close(&mut session, &record.id, Some(code)).await
}

/// Puts right what nobody waits for any more: processes whose netdp was killed before they ended.
pub(in crate::command) async fn settle(session: &mut Session) -> Result<(), Error> {
    for record in Processes::of(&session.place).all()? {
        let over = record.ended.is_none() && !record.runs() && !record.is_watched();
        if !over {
            continue;
        }
        if let Some(mounts) = record.mounts {
            // Who shares the network of another one has the files of that one.
            let files = if let Mode::Container(other) = &record.mode { other } else { &record.id };
            namespace::end_rest_of(mounts, files).await;
        }
        close(session, &record.id, None).await?;
    }
    Ok(())
}

/// Releases what it had, then writes its end down; or forgets it, when that was asked for or it never began.
async fn close(session: &mut Session, id: &Id, code: Option<u8>) -> Result<(), Error> {
    let processes = Processes::of(&session.place);
    release(session, id).await;
    let Some(mut record) = processes.get(id) else { return Ok(()) };
    if record.remove || record.started.is_none() {
        return Ok(processes.remove(id)?);
    }
    record.ended = Some(Ended { at: instance::now(), code });
    Ok(processes.save(&record)?)
}

/// Takes it off its networks. What cannot be taken off goes with the next command, and is no reason not to write its end down.
pub(in crate::command) async fn release(session: &mut Session, id: &Id) {
    if let Err(error) = try_release(session, id).await {
        tracing::warn!("cannot take the process off its networks: {error}");
    }
}

async fn try_release(session: &mut Session, id: &Id) -> Result<(), Error> {
    let networks = session.store.networks()?;
    let endpoints = session.store.endpoints()?;
    match endpoints.iter().find(|endpoint| endpoint.id == *id) {
        Some(endpoint) => take_off(session, &networks, endpoint, None, Rest::Goes).await,
        None => Ok(()),
    }
}
