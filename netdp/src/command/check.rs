//! `netdp check`: what this machine offers and lacks.

use std::io::Write;

use serde_json::{Value, json};

use super::Context;
use crate::Error;
use crate::host::check::{self, CheckRow};
use crate::output;

/// The exit code that the contract has for a host that lacks something.
const LACKS: u8 = 3;

pub(super) async fn check<W: Write>(context: &mut Context<'_, W>) -> Result<u8, Error> {
    let rows = check::run().await;
    if context.is_json() {
        let document: Vec<Value> = rows.iter().map(document).collect();
        output::document(context.out, &json!(document))?;
    } else {
        let lines = rows.iter().map(|row| vec![row.name.clone(), word(row).to_owned(), row.detail.clone()]);
        output::table(context.out, &["WHAT", "STATE", "DETAIL"], lines.collect())?;
    }
    context.out.flush()?;
    Ok(if rows.iter().any(CheckRow::is_fatal) { LACKS } else { 0 })
}

fn document(row: &CheckRow) -> Value {
    json!({ "name": row.name, "ok": row.ok, "required": row.required, "detail": row.detail })
}

fn word(row: &CheckRow) -> &'static str {
    match (row.ok, row.required) {
        (true, _) => "ok",
        (false, true) => "missing",
        (false, false) => "absent",
    }
}

/// An error that names everything that netdp cannot work without and this machine lacks.
pub(super) async fn nothing_lacks() -> Result<(), Error> {
    let rows = check::run().await;
    let missing: Vec<String> = rows
        .iter()
        .filter(|row| row.is_fatal())
        .map(|row| format!("{} ({})", row.name, row.detail))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = check::kernel_hint().map_or_else(String::new, |hint| format!("; {hint}"));
    Err(Error::Lacks(missing.join(", ") + &hint))
}

/// An error that names the privileges that this process lacks. Without them nearly everything else seems to
/// be lacking too, so they come first.
pub(super) fn privileged() -> Result<(), Error> {
    let rows = check::privileges();
    let missing: Vec<String> = rows.into_iter().filter(CheckRow::is_fatal).map(|row| row.name).collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::Unprivileged(missing.join(", "))) }
}
