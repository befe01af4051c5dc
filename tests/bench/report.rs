//! What a run came to: on the terminal, as JSON and as pictures.

use std::fs;
use std::path::Path;

use clap::ValueEnum;

use crate::arena::Remarks;
use crate::document::document;
use crate::ending::Ending;
use crate::machine::Machine;
use crate::options::{Family, Scenario};
use crate::plan::Plan;
use crate::rounds::Samples;
use crate::summary::Row;
use crate::table::{table, variants};
use crate::unit::RATIOS;
use crate::{failed, picture};

/// The file of every number.
pub(crate) const RESULTS: &str = "results.json";

/// A run that came to its end.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) rows: Vec<Row>,
    pub(crate) samples: Samples,
    pub(crate) remarks: Remarks,
}

impl Report {
    /// The table, and what must be known beside it.
    pub(crate) fn print(&self) {
        println!("{}", table(&self.plan, &self.rows));
        if let Some(table) = variants(&self.rows) {
            println!("netdp otherwise than usual\n{table}");
        }
        println!("{}; median of {} rounds [95 % confidence interval]", self.machine.line(), self.plan.rounds);
        println!("{RATIOS}");
        self.remarks.notes.iter().for_each(|(arm, note)| println!("{arm}: {note}"));
        self.remarks.left_out.iter().for_each(|(what, why)| println!("left out: {what}: {why}"));
    }

    /// results.json and the pictures.
    pub(crate) fn write(&self, output: &Path) -> Result<(), Ending> {
        let results = output.join(RESULTS);
        fs::write(&results, format!("{:#}\n", document(self))).map_err(|error| failed(&results, &error))?;
        println!("{}", results.display());
        let pictures = picture::draw(output, &self.rows, &self.footer());
        pictures.map_err(|why| Ending::Failed(format!("the pictures were not drawn: {why}")))
    }

    /// Takes away what another run left, of which this one might write only a part.
    pub(crate) fn clear(output: &Path) {
        let of_family = |family: Family| {
            Scenario::value_variants().iter().map(move |scenario| picture::name(*scenario, family))
        };
        let names = Family::value_variants().iter().copied().flat_map(of_family);
        let pictures = names
            .flat_map(|name| ["svg", "png"].map(|extension| output.join(&name).with_extension(extension)));
        for path in pictures.chain([output.join(RESULTS)]) {
            // Most often there is none.
            let _ = fs::remove_file(path);
        }
    }

    /// What stands below each picture, which may be shown without the rest.
    fn footer(&self) -> String {
        let line = format!("{}; {} rounds", self.machine.line(), self.plan.rounds);
        self.machine.warning().map_or_else(|| line.clone(), |warning| format!("{line}; {warning}"))
    }
}
