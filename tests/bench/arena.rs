//! All arms, standing side by side, with servers at the ends that answer.

use std::collections::BTreeSet;

use crate::arm::{self, Arm, Way};
use crate::ending::Ending;
use crate::interrupt;
use crate::measure::attempt;
use crate::options::ArmName;
use crate::plan::{Plan, Traffic};
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
    /// What is to be said about an arm or the machine.
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
    /// Builds the arms. netdp must be there, and so must those that `named` says were asked for by name.
    pub(crate) fn build(plan: &Plan, named: &[ArmName]) -> Result<Self, Ending> {
        let mut arena = Self { arms: Vec::new(), remarks: Remarks::default() };
        for name in &plan.arms {
            if interrupt::came() {
                return Err(Ending::Interrupted);
            }
            eprintln!("arm {}", word(name));
            match stand(*name, plan) {
                Ok(standing) => arena.enter(standing),
                Err(why) if named.contains(name) || *name == ArmName::Netdp => {
                    return Err(refused(*name, &why));
                }
                Err(why) => arena.leave_out(word(name), &why),
            }
        }
        let only_wire = arena.arms.iter().all(|standing| standing.name.is_wire());
        if only_wire { Err(Ending::Failed("there is no arm but the wire".into())) } else { Ok(arena) }
    }

    /// The arm of this name, when it stands.
    pub(crate) fn arm(&self, name: ArmName) -> Option<&dyn Arm> {
        self.arms.iter().find(|standing| standing.name == name).map(|standing| standing.arm.as_ref())
    }

    /// Says so at once, and again below the table.
    pub(crate) fn leave_out(&mut self, what: String, why: &str) {
        eprintln!("left out: {what}: {why}");
        self.remarks.left_out.push((what, heart(why)));
    }

    /// Adds what a reader must know of the whole run.
    pub(crate) fn note(&mut self, about: &str, note: String) {
        self.remarks.notes.push((about.to_owned(), note));
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

/// Of a command that failed, what it said first; the whole of it has been shown.
pub(crate) fn heart(why: &str) -> String {
    let said = why.split_once("stderr: ").map_or(why, |(_, said)| said);
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next().unwrap_or(why).to_owned()
}

/// Interrupted children end with an error of their own, which is not the reason.
fn refused(name: ArmName, why: &str) -> Ending {
    if interrupt::came() {
        return Ending::Interrupted;
    }
    let text = format!("the arm {} cannot be built here: {why}", word(&name));
    if name.lacks().is_empty() { Ending::Failed(text) } else { Ending::Lacking(text) }
}

fn stand(name: ArmName, plan: &Plan) -> Result<Standing, String> {
    let lacks = name.lacks();
    if !lacks.is_empty() {
        return Err(format!("it needs {}, which is not installed", lacks.join(", ")));
    }
    attempt(|| {
        let arm = arm::build(name, &plan.families);
        let way = |traffic: Traffic| arm.way(traffic.scenario, traffic.family);
        let ways: Vec<Way> = plan.traffic().filter_map(way).collect();
        let places: BTreeSet<_> = ways.iter().map(|way| way.served_by).collect();
        let servers = places.into_iter().map(|place| Servers::start(arm.place(place), &plan.kinds)).collect();
        Standing { name, _servers: servers, arm }
    })
}
