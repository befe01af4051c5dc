//! `netdp network inspect`.

use std::io::Write;

use serde_json::{Value, json};

use super::Context;
use crate::Error;
use crate::clash::{self, Occupied};
use crate::cli::NetworkInspect;
use crate::instance;
use crate::model::{Endpoint, Network};
use crate::output;
use crate::world::occupied_here;

/// JSON in either format, as Docker does.
pub(super) async fn inspect<W: Write>(
    context: &mut Context<'_, W>,
    args: &NetworkInspect,
) -> Result<(), Error> {
    let (networks, endpoints) = instance::read(&context.place)?;
    let occupied = occupied_here().await;
    let found: Result<Vec<Value>, Error> = args
        .names
        .iter()
        .map(|word| Ok(document(instance::find_network(&networks, word)?, &endpoints, &occupied)))
        .collect();
    Ok(output::document(context.out, &json!(found?))?)
}

fn document(network: &Network, endpoints: &[Endpoint], occupied: &[Occupied]) -> Value {
    let mut document = output::network(network, endpoints);
    let warnings = clash::warnings(std::slice::from_ref(network), occupied);
    if !warnings.is_empty() {
        document["Status"]["Warnings"] = json!(warnings);
    }
    document
}
