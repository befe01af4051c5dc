//! `netdp stop`, `netdp rm` and `netdp wait`: the end of processes.

use std::io::Write;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::Context;
use super::run::ending::settle;
use crate::Error;
use crate::cli::{Rm, Stop, Wait};
use crate::instance::{self, Place, Session, find_endpoint};
use crate::names::Id;
use crate::process::{self, Processes, Record, namespace};

/// How often it is looked whether a process has ended.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long whoever waits for a process may take to write its end down, and a killed process to end.
const PATIENCE: Duration = Duration::from_secs(35);

pub(super) async fn stop<W: Write>(context: &mut Context<'_, W>, args: &Stop) -> Result<(), Error> {
    for name in &args.names {
        let record = find(&context.place, name)?;
        end(&context.place, &record, args.signal, Duration::from_secs(args.time.into())).await?;
        writeln!(context.out, "{name}")?;
    }
    Ok(())
}

pub(super) async fn rm<W: Write>(context: &mut Context<'_, W>, args: &Rm) -> Result<(), Error> {
    let mut errors = Vec::new();
    for name in &args.names {
        match remove(&context.place, name, args.force).await {
            Ok(()) => writeln!(context.out, "{name}")?,
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)
}

pub(super) async fn wait<W: Write>(context: &mut Context<'_, W>, args: &Wait) -> Result<(), Error> {
    for name in &args.names {
        let record = find(&context.place, name)?;
        let code = until_ended(&context.place, &record, None).await?;
        writeln!(context.out, "{}", code.map_or_else(|| "unknown".to_owned(), |code| code.to_string()))?;
    }
    Ok(())
}

/// The process that a word means. An endpoint that was attached is none.
pub(super) fn find(place: &Place, word: &str) -> Result<Record, Error> {
    match Processes::of(place).find(word) {
        Err(process::Error::Unresolved(unknown)) => {
            let (_, endpoints) = instance::read(place)?;
            match find_endpoint(&endpoints, word) {
                Ok(endpoint) => Err(process::Error::Attached(endpoint.name.clone()).into()),
                Err(_) => Err(process::Error::Unresolved(unknown).into()),
            }
        }
        result => Ok(result?),
    }
}

async fn remove(place: &Place, word: &str, force: bool) -> Result<(), Error> {
    let record = find(place, word)?;
    if record.runs() && !force {
        return Err(process::Error::Runs(record.name).into());
    }
    end(place, &record, Signal::SIGKILL, Duration::ZERO).await?;
    let _session = Session::begin(place).await?;
    let processes = Processes::of(place);
    // It may have been about to begin when it was looked at.
    match processes.get(&record.id) {
        Some(now) if now.runs() => Err(process::Error::Runs(now.name).into()),
        Some(_) => Ok(processes.remove(&record.id)?),
        None => Ok(()),
    }
}

/// Asks a process to end, kills it when it does not, and waits until what it had is free.
async fn end(place: &Place, record: &Record, signal: Signal, patience: Duration) -> Result<(), Error> {
    let Some(task) = record.task.as_ref().filter(|_| record.ended.is_none()) else { return Ok(()) };
    // It may have ended already.
    let _ = namespace::send(task, signal);
    let deadline = Instant::now() + patience;
    while task.lives() && Instant::now() < deadline {
        sleep(INTERVAL).await;
    }
    let _ = namespace::send(task, Signal::SIGKILL);
    until_ended(place, record, Some(PATIENCE)).await.map(drop)
}

/// Waits until the end of a process is written down, and says its exit code.
async fn until_ended(
    place: &Place,
    record: &Record,
    patience: Option<Duration>,
) -> Result<Option<u8>, Error> {
    let begin = Instant::now();
    loop {
        if let Some(code) = ended(place, &record.id).await? {
            return Ok(code);
        }
        if patience.is_some_and(|patience| begin.elapsed() > patience) {
            return Err(process::Error::Stays(record.name.clone()).into());
        }
        sleep(INTERVAL).await;
    }
}

/// None while it runs, or while its end is yet to be written down by whoever waits for it. One that nobody waits for is seen to
/// here.
async fn ended(place: &Place, id: &Id) -> Result<Option<Option<u8>>, Error> {
    let processes = Processes::of(place);
    let Some(record) = processes.get(id) else { return Ok(Some(None)) };
    if let Some(ended) = record.ended {
        return Ok(Some(ended.code));
    }
    if !record.runs() && !record.is_watched() {
        settle(&mut Session::begin(place).await?).await?;
    }
    Ok(None)
}
