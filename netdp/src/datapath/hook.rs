//! Where programs are attached.

use std::fmt;

use aya::programs::tc::TcAttachType;
use aya_obj::generated::bpf_attach_type;
use netdp_common::names;

/// A place in the packet's way, and the program that stands there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hook {
    /// Ingress of a container's host-side veth.
    FromContainer,
    /// Ingress of an uplink.
    FromUplink,
    /// Egress of an uplink.
    ToUplink,
    /// Egress of a network's bridge.
    ToBridge,
    /// Egress of `lo`.
    FromHost,
    /// Ingress of the veth from the namespace where fragments are sorted.
    FromFragments,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 6] = [
        Self::FromContainer,
        Self::FromUplink,
        Self::ToUplink,
        Self::ToBridge,
        Self::FromHost,
        Self::FromFragments,
    ];

    /// The program's name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::FromContainer => names::FROM_CONTAINER,
            Self::FromUplink => names::FROM_UPLINK,
            Self::ToUplink => names::TO_UPLINK,
            Self::ToBridge => names::TO_BRIDGE,
            Self::FromHost => names::FROM_HOST,
            Self::FromFragments => names::FROM_FRAGMENTS,
        }
    }

    pub(super) const fn direction(self) -> TcAttachType {
        match self {
            Self::FromContainer | Self::FromUplink | Self::FromFragments => TcAttachType::Ingress,
            Self::ToUplink | Self::ToBridge | Self::FromHost => TcAttachType::Egress,
        }
    }

    /// The same in the words of TCX.
    pub(super) const fn tcx_direction(self) -> bpf_attach_type {
        match self.direction() {
            TcAttachType::Ingress => bpf_attach_type::BPF_TCX_INGRESS,
            _ => bpf_attach_type::BPF_TCX_EGRESS,
        }
    }

    /// The pin of this hook's link on one interface.
    pub(super) fn pin_name(self, ifindex: u32) -> String {
        format!("{self}-{ifindex}")
    }

    /// The hook and interface of a pin; `None` for a pin that is not a hook's.
    pub(super) fn from_pin_name(name: &str) -> Option<(Self, u32)> {
        let (program, ifindex) = name.rsplit_once('-')?;
        let hook = Self::ALL.into_iter().find(|hook| hook.program() == program)?;
        Some((hook, ifindex.parse().ok()?))
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_name_leads_back_to_hook_and_interface() {
        for hook in Hook::ALL {
            assert_eq!(Hook::from_pin_name(&hook.pin_name(17)), Some((hook, 17)));
        }
        assert_eq!(Hook::from_pin_name("bind4"), None);
        assert_eq!(Hook::from_pin_name("from_host-lo"), None);
    }
}
