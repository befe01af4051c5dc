//! In the place of the maps: the table of flows has the one that was put there.

use netdp_common::{Flow, FlowKey};

use super::conntrack;

/// The table of flows.
pub(super) struct Flows;

pub(super) static FLOWS: Flows = Flows;

impl Flows {
    /// The flow, whatever is asked for.
    pub(super) fn get_ptr(&self, key: &FlowKey) -> Option<*const Flow> {
        conntrack::peek(key).map(std::ptr::from_ref)
    }
}
