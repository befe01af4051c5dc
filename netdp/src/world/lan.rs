//! Interfaces on a LAN, in the containers that they belong to.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use super::{Kernel, open_netns};
use crate::Error;
use crate::desired::{LanLink, VlanLink};
use crate::host::uplink;
use crate::lan;
use crate::model::LanMode;
use crate::netlink::{Link, Netlink, Shared};

/// Name of the interface that is made in order to see whether it can be.
const PROBE: &str = "nd-probe";

impl Kernel {
    /// Whether the finished interface is there.
    pub(super) async fn is_on_lan(&self, lan: &LanLink) -> Result<bool, Error> {
        // Of a container that has gone there is nothing to be found.
        let Ok(ns) = open_netns(&lan.inside.netns) else { return Ok(false) };
        let found = Netlink::in_netns(&ns)?.link(&lan.inside.ifname).await?;
        Ok(found.is_some_and(|link| link.up && link.alias.as_deref() == Some(&lan.alias)))
    }

    /// All of it or nothing. One that was left unfinished is made anew.
    pub(super) async fn create_lan(&self, lan: &LanLink) -> Result<(), Error> {
        let ns = open_netns(&lan.inside.netns)?;
        let parent = self.parent(&lan.parent).await?;
        let inside = Netlink::in_netns(&ns)?;
        self.remove_lan(lan).await?;
        if inside.link(&lan.inside.ifname).await?.is_some() {
            return Err(Error::IfnameTaken(lan.inside.ifname.clone()));
        }
        let shared = Shared {
            parent: parent.index,
            mode: lan.mode,
            name: lan.draft.clone(),
            mac: mac_of(lan.mode, lan.inside.mac.0),
        };
        self.add_shared(&shared, Some(&ns)).await?;
        let finished = self.finish_lan(lan, &inside).await;
        if finished.is_err() {
            // The first failure is the one to report.
            let _ = self.remove_lan(lan).await;
        }
        finished
    }

    async fn finish_lan(&self, lan: &LanLink, inside: &Netlink) -> Result<(), Error> {
        let name = &lan.inside.ifname;
        let link = super::link_in(inside, &lan.draft).await?;
        inside.name_as_ours(link.index, name, &lan.alias).await?;
        if let Some(mtu) = lan.mtu {
            inside.set_mtu(link.index, mtu).await?;
        }
        self.configure_inside(&lan.inside).await
    }

    /// Removes it; a container that has gone took it with it.
    pub(super) async fn remove_lan(&self, lan: &LanLink) -> Result<(), Error> {
        let Ok(ns) = open_netns(&lan.inside.netns) else { return Ok(()) };
        let inside = Netlink::in_netns(&ns)?;
        for name in [&lan.draft, &lan.inside.ifname] {
            let ours = |link: &Link| link.name == lan.draft || link.alias.as_deref() == Some(&lan.alias);
            if let Some(link) = inside.link(name).await?.filter(ours) {
                inside.delete_link(link.index).await?;
            }
        }
        Ok(())
    }

    /// Names of the interfaces in a namespace, after those have gone that a killed command left there: made by netdp, and of
    /// no attachment that is known.
    pub async fn interfaces_in(
        &self,
        ns: &OwnedFd,
        known: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Error> {
        let inside = Netlink::in_netns(ns)?;
        let (left, there): (Vec<Link>, Vec<Link>) =
            inside.links().await?.into_iter().partition(|link| is_left_over(link, known));
        for link in left {
            inside.delete_link(link.index).await?;
        }
        Ok(there.into_iter().map(|link| link.name).collect())
    }

    /// Makes a VLAN of an interface of the host.
    pub(super) async fn create_vlan(&self, name: &str, vlan: &VlanLink) -> Result<(), Error> {
        let base = self.parent(&vlan.base).await?;
        match self.netlink.add_vlan(name, base.index, vlan.number, &vlan.alias).await {
            Err(error) if error.is_unsupported() => Err(lacks("VLAN", "CONFIG_VLAN_8021Q")),
            result => {
                self.numbers.borrow_mut().insert(name.to_owned(), result?);
                Ok(())
            }
        }
    }

    /// Tries whether a parent takes such interfaces; nothing is left of the trial.
    pub async fn try_lan(&self, parent: &str, mode: LanMode) -> Result<(), Error> {
        let parent = self.parent(parent).await?;
        if let Some(left) = self.netlink.link(PROBE).await? {
            self.netlink.delete_link(left.index).await?;
        }
        let shared = Shared { parent: parent.index, mode, name: PROBE.to_owned(), mac: None };
        self.add_shared(&shared, None).await?;
        let made = super::link_in(&self.netlink, PROBE).await?;
        Ok(self.netlink.delete_link(made.index).await.map(drop)?)
    }

    /// An interface of the host that is to be on a LAN.
    pub async fn parent(&self, name: &str) -> Result<Link, Error> {
        let unfit = |why| Err(lan::Error::Unfit { parent: name.to_owned(), why }.into());
        match self.netlink.link(name).await? {
            Some(link) if link.loopback => unfit("it is the loopback interface, which is on no LAN"),
            Some(link) if !link.ether => unfit("it carries no Ethernet frames"),
            Some(link) => Ok(link),
            None => {
                let links =
                    self.netlink.links().await?.into_iter().filter(|link| !link.loopback && link.ether);
                let there: Vec<String> = links.map(|link| link.name).collect();
                let there =
                    if there.is_empty() { "none that could be one".to_owned() } else { there.join(", ") };
                Err(lan::Error::NoParent { parent: name.to_owned(), there }.into())
            }
        }
    }

    /// An interface of the host that a bridge can have as its port, without anybody losing anything.
    pub async fn port_to_be(&self, name: &str) -> Result<Link, Error> {
        let link = self.parent(name).await?;
        let unfit = |why| Err(lan::Error::Unfit { parent: name.to_owned(), why }.into());
        if link.controller.is_some() {
            return unfit("it is a port of another interface already");
        }
        if link.kind.as_deref() == Some("bridge") {
            return unfit("it is a bridge; use it as it is with -o bridge-name");
        }
        let host = uplink::Observed::of(&self.netlink).await?;
        let own = host.addresses.iter().filter(|address| address.index == link.index && address.global);
        let own: Vec<String> = own.map(|address| address.net.to_string()).collect();
        if !own.is_empty() {
            return Err(lan::Error::Addresses { parent: name.to_owned(), addresses: own.join(", ") }.into());
        }
        if host.uplinks(&self.uplinks)?.iter().any(|uplink| uplink.ifindex == link.index) {
            return unfit("it is an uplink of this host");
        }
        if !link.up {
            return unfit("it is down; bring it up first (ip link set IF up)");
        }
        Ok(link)
    }

    async fn add_shared(&self, shared: &Shared, ns: Option<&OwnedFd>) -> Result<(), Error> {
        match self.netlink.add_shared(shared, ns).await {
            Err(error) if error.is_unsupported() => Err(match shared.mode {
                LanMode::Macvlan(_) => lacks("macvlan", "CONFIG_MACVLAN"),
                LanMode::Ipvlan(_) => lacks("ipvlan", "CONFIG_IPVLAN"),
            }),
            result => Ok(result?),
        }
    }
}

fn lacks(kind: &str, option: &str) -> Error {
    Error::Lacks(format!(
        "interfaces of the kind {kind}: the kernel was built without {option}, or its module is missing"
    ))
}

/// Interfaces of an ipvlan have the parent's, and one that passes everything through takes the parent's too.
fn mac_of(mode: LanMode, mac: [u8; 6]) -> Option<[u8; 6]> {
    matches!(mode, LanMode::Macvlan(_)).then_some(mac)
}

/// On a LAN, and of nobody.
fn is_left_over(link: &Link, known: &BTreeSet<String>) -> bool {
    let on_lan = matches!(link.kind.as_deref(), Some("macvlan" | "ipvlan"));
    let digits = |name: &str| name.len() == 10 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let draft = link.name.strip_prefix("nd").is_some_and(digits) && link.alias.is_none() && !link.up;
    let unknown = |alias: &str| alias.starts_with("netdp:endpoint:") && !known.contains(alias);
    on_lan && (draft || link.alias.as_deref().is_some_and(unknown))
}
