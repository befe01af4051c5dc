//! `netdp drops`.

use std::io::Write;

use netdp_common::{Count, Reason};
use serde_json::{Value, json};

use super::Context;
use crate::Error;
use crate::datapath::Datapath;
use crate::output;
use crate::world::Kernel;

pub(super) fn drops<W: Write>(context: &mut Context<'_, W>) -> Result<(), Error> {
    let kernel = Kernel::here(&context.place.run_dir, Vec::new())?;
    let drops = counted(kernel.datapath()?)?;
    if context.is_json() {
        return Ok(output::document(context.out, &documents(&drops))?);
    }
    let rows = drops.iter().map(|(reason, count)| {
        vec![
            reason.number().to_string(),
            reason.name().to_owned(),
            count.packets.to_string(),
            count.bytes.to_string(),
        ]
    });
    Ok(output::table(context.out, &["NUMBER", "REASON", "PACKETS", "BYTES"], rows.collect())?)
}

/// The reasons for drops that have counted something.
pub(super) fn counted(datapath: &Datapath) -> Result<Vec<(Reason, Count)>, Error> {
    let mut counters = datapath.counters()?;
    counters.retain(|(reason, count)| reason.is_drop() && count.packets > 0);
    Ok(counters)
}

/// Reasons with what they counted, as JSON.
pub(super) fn documents(counters: &[(Reason, Count)]) -> Value {
    let document = |(reason, count): &(Reason, Count)| {
        json!({
            "number": reason.number(),
            "reason": reason.name(),
            "packets": count.packets,
            "bytes": count.bytes,
        })
    };
    counters.iter().map(document).collect()
}
