//! `netdp logs`.

use std::io::Write;
use std::time::Duration;

use super::Context;
use super::stop::find;
use crate::Error;
use crate::cli::Logs;
use crate::process::log::Reader;
use crate::process::{self, Processes};

/// How often a log is looked at that is followed.
const INTERVAL: Duration = Duration::from_millis(100);

pub(super) async fn logs<W: Write>(context: &mut Context<'_, W>, args: &Logs) -> Result<(), Error> {
    let record = find(&context.place, &args.name)?;
    if !record.detached {
        return Err(process::Error::NoLog(record.name).into());
    }
    let processes = Processes::of(&context.place);
    let mut reader = Reader::begin(&processes.log(&record.id), args.tail, context.out)?;
    if !args.follow {
        return Ok(());
    }
    context.out.flush()?;
    loop {
        let runs = processes.get(&record.id).is_some_and(|record| record.runs());
        // One that is forgotten when it ends takes its log along.
        if reader.go_on(context.out).is_err() && processes.get(&record.id).is_none() {
            return Ok(());
        }
        if !runs {
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
