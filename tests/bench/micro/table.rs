//! The tables on the terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::helper;
use super::program::Size;
use super::steady::Measured;

/// The classes, with nanoseconds per packet.
pub(crate) fn classes(measured: &[Measured]) -> Table {
    let mut table = table(&["program", "class", "carries", "family", "ns median", "ns least", "harness"], 4);
    for one in measured {
        table.add_row([
            one.class.program.to_owned(),
            one.class.way.to_owned(),
            one.class.carries.to_owned(),
            one.family.to_owned(),
            format!("{:.0}", one.median()),
            format!("{:.0}", one.least()),
            format!("{:.0}", one.way()),
        ]);
    }
    table
}

/// The helpers, with nanoseconds per call.
pub(crate) fn helpers(measured: &[helper::Measured]) -> Table {
    let mut table = table(&["helper", "ns median", "ns least"], 1);
    for one in measured {
        table.add_row([one.what.clone(), format!("{:.1}", one.median()), format!("{:.1}", one.least())]);
    }
    table
}

/// The programs, with their sizes.
pub(crate) fn programs(sizes: &[Size]) -> Table {
    let mut table = table(&["program", "verified", "translated", "bytes of machine code", "of stack"], 1);
    for Size { name, verified, translated, machine_code, stack } in sizes {
        let numbers = [verified, translated, machine_code, stack].map(u32::to_string);
        table.add_row([(*name).to_owned()].into_iter().chain(numbers));
    }
    table
}

/// An empty one, whose first columns are words and the others numbers.
pub(crate) fn table(heading: &[&str], words: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
