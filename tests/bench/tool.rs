//! The programs that the arms and kinds call, told before anything is built when they are missing.

use std::env;
use std::path::Path;

use crate::options::{ArmName, Kind};

impl ArmName {
    /// What this arm cannot be built without.
    fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Nft
            | Self::NftFlowtable
            | Self::Netdp
            | Self::NetdpWithoutRedirectPeer
            | Self::NetdpWithoutKeptRoutes
            | Self::NetdpLargeMtu => &["ip", "nft"],
            Self::Docker | Self::DockerNoproxy => {
                &["ip", "dockerd", "docker", "iptables", "busybox", "tar", "unshare"]
            }
            Self::Veth | Self::Uplink | Self::Routed | Self::Bridge => &["ip"],
        }
    }

    /// Those that are not there.
    pub(crate) fn lacks(self) -> Vec<&'static str> {
        missing(self.tools())
    }
}

impl Kind {
    /// What this kind cannot be measured without and that is not there.
    pub(crate) fn lacks(self) -> Option<Vec<&'static str>> {
        let lacks = if self == Self::Http { missing(&["nginx", "wrk"]) } else { Vec::new() };
        (!lacks.is_empty()).then_some(lacks)
    }
}

/// What no run can do without and that is not there: in every arm servers of iperf3 stand by.
pub(crate) fn lacking_everywhere() -> Vec<&'static str> {
    missing(&["date", "iperf3", "ss"])
}

/// What `--scale` cannot do without.
pub(crate) fn lacking_for_scale() -> Vec<&'static str> {
    missing(&["ip", "bpftool"])
}

fn missing(tools: &[&'static str]) -> Vec<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = env::split_paths(&path).collect();
    let there = |tool: &&str| folders.iter().any(|folder| Path::new(folder).join(tool).is_file());
    tools.iter().copied().filter(|tool| !there(tool)).collect()
}
