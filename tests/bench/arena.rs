//! All arms, standing side by side, with servers at the ends that answer.

use std::collections::BTreeSet;

use crate::arm::{self, Arm, Way};
use crate::ending::Ending;
use crate::interrupt;
use crate::measure::attempt;
use crate::options::{ArmName, Scenario};
use crate::plan::Plan;
use crate::server::Servers;
use crate::word::word;

/// An arm that is up. Its servers end before it does.
pub(crate) struct Standing {
    pub(crate) name: ArmName,
    _servers: Vec<Servers>,
    pub(crate) arm: Box<dyn Arm>,
}

/// What a reader of the table must know beside it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remarks {
    /// Arms, and what is to be said about each.
    pub(crate) notes: Vec<(String, String)>,
    /// What is not in the table, and why.
    pub(crate) left_out: Vec<(String, String)>,
}

/// The arms that this machine can have.
pub(crate) struct Arena {
    pub(crate) arms: Vec<Standing>,
    remarks: Remarks,
}

impl Arena {
    /// Builds the arms; those that `named` says were asked for by name must be there.
    pub(crate) fn build(plan: &Plan, named: &[ArmName]) -> Result<Self, Ending> {
        let mut arena = Self { arms: Vec::new(), remarks: Remarks::default() };
        for name in &plan.arms {
            if interrupt::came() {
                return Err(Ending::Interrupted);
            }
            eprintln!("arm {}", word(name));
            match stand(*name, &plan.scenarios) {
                Ok(standing) => arena.enter(standing),
                Err(why) if named.contains(name) => return Err(refused(*name, &why)),
                Err(why) => arena.leave_out(word(name), why),
            }
        }
        Ok(arena)
    }

    /// The arm of this name, when it stands.
    pub(crate) fn arm(&self, name: ArmName) -> Option<&dyn Arm> {
        self.arms.iter().find(|standing| standing.name == name).map(|standing| standing.arm.as_ref())
    }

    /// Says so at once, and again below the table.
    pub(crate) fn leave_out(&mut self, what: String, why: String) {
        eprintln!("left out: {what}: {why}");
        self.remarks.left_out.push((what, why));
    }

    fn enter(&mut self, standing: Standing) {
        let note = standing.arm.note();
        self.remarks.notes.extend(note.map(|note| (word(&standing.name), note)));
        self.arms.push(standing);
    }

    /// Ends all arms; what one leaves behind is a failure of the run.
    pub(crate) fn take_away(self) -> Result<Remarks, Ending> {
        let Self { arms, remarks } = self;
        for standing in arms {
            let name = word(&standing.name);
            let gone = attempt(|| drop(standing));
            gone.map_err(|why| Ending::Failed(format!("the arm {name} was not taken away: {why}")))?;
        }
        Ok(remarks)
    }
}

/// Interrupted children end with an error of their own, which is not the reason.
fn refused(name: ArmName, why: &str) -> Ending {
    if interrupt::came() {
        return Ending::Interrupted;
    }
    let text = format!("the arm {} cannot be built here: {why}", word(&name));
    if name.lacks().is_empty() { Ending::Failed(text) } else { Ending::Lacking(text) }
}

fn stand(name: ArmName, scenarios: &[Scenario]) -> Result<Standing, String> {
    let lacks = name.lacks();
    if !lacks.is_empty() {
        return Err(format!("it needs {}, which is not installed", lacks.join(", ")));
    }
    attempt(|| {
        let arm = arm::build(name);
        let ways: Vec<Way> = scenarios.iter().filter_map(|scenario| arm.way(*scenario)).collect();
        let places: BTreeSet<_> = ways.iter().map(|way| way.served_by).collect();
        let servers = places.into_iter().map(|place| Servers::start(arm.place(place))).collect();
        Standing { name, _servers: servers, arm }
    })
}
