//! `netdp network inspect`.

use std::io::Write;

use serde_json::{Value, json};

use super::Context;
use crate::Error;
use crate::cli::NetworkInspect;
use crate::instance;
use crate::output;

/// JSON in either format, as Docker does.
pub(super) fn inspect<W: Write>(context: &mut Context<'_, W>, args: &NetworkInspect) -> Result<(), Error> {
    let (networks, endpoints) = instance::read(&context.place)?;
    let found: Result<Vec<Value>, Error> = args
        .names
        .iter()
        .map(|word| Ok(output::network(instance::find_network(&networks, word)?, &endpoints)))
        .collect();
    Ok(output::document(context.out, &json!(found?))?)
}
