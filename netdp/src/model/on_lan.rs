//! Bridges that are on a LAN: by a port that is an interface of the host, or because somebody else made them and has put ports
//! there.

use std::net::IpAddr;

use super::{Bridge, Network};

/// The interface and the number of the VLAN that a name like `eth1.20` means.
pub fn vlan_of(interface: &str) -> Option<(&str, u16)> {
    let (base, number) = interface.rsplit_once('.')?;
    let number = number.parse().ok().filter(|number| (1..=4094).contains(number))?;
    (!base.is_empty()).then_some((base, number))
}

impl Bridge {
    /// Whether its containers speak with whoever else is on the bridge. Which ports somebody else's bridge has changes while the
    /// network lives, so that it counts as such with any.
    pub fn is_on_lan(&self) -> bool {
        !self.internal && (self.parent.is_some() || self.borrowed.is_some())
    }

    /// Whether a gateway of its containers is a router on the LAN, and not the bridge: it is no address that the bridge has got,
    /// and the host is there without it, or not there at all.
    pub fn is_router(&self, gateway: IpAddr) -> bool {
        let Some(borrowed) = &self.borrowed else { return self.parent.is_some() };
        let mut beside = borrowed.addresses.iter().filter(|own| own.contains(&gateway)).peekable();
        self.is_on_lan() && beside.peek().is_some() && beside.all(|own| own.addr() != gateway)
    }
}

impl Network {
    /// Whether its endpoints share their subnet with machines that are none.
    pub fn is_on_lan(&self) -> bool {
        self.lan().is_some() || self.bridge().is_some_and(Bridge::is_on_lan)
    }

    /// The interface of the host by which a DHCP server is asked for the addresses, if one is.
    pub fn asks_dhcp_on(&self) -> Option<&str> {
        self.parent().filter(|_| self.is_by_dhcp())
    }

    /// The interface of the host that it has for itself, if any.
    pub fn parent(&self) -> Option<&str> {
        let of_bridge = || self.bridge().and_then(|bridge| bridge.parent.as_deref());
        self.lan().map(|lan| lan.parent.as_str()).or_else(of_bridge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Borrowed;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn vlan_is_a_number_behind_a_dot() {
        assert_eq!(vlan_of("eth1.20"), Some(("eth1", 20)));
        assert_eq!(vlan_of("a.b.4094"), Some(("a.b", 4094)));
        for other in ["eth1", ".20", "eth1.0", "eth1.4095", "eth1.x"] {
            assert_eq!(vlan_of(other), None, "{other}");
        }
    }

    #[test]
    fn router_is_who_has_not_got_an_address_of_the_bridge() {
        let own = crate::fake::bridge(1);
        assert!(!own.is_on_lan() && !own.is_router(ip("10.1.0.1")));
        let with_port = Bridge { parent: Some("eth1".to_owned()), ..own.clone() };
        assert!(with_port.is_on_lan() && with_port.is_router(ip("10.1.0.1")));
        let addresses = vec!["10.1.0.9/24".parse().unwrap()];
        let borrowed = Bridge { borrowed: Some(Borrowed { addresses }), ..own };
        assert!(borrowed.is_on_lan());
        assert!(borrowed.is_router(ip("10.1.0.1")) && !borrowed.is_router(ip("10.1.0.9")));
        assert!(!borrowed.is_router(ip("10.2.0.1")), "an address that the bridge is to get");
        let internal = Bridge { internal: true, ..borrowed };
        assert!(!internal.is_on_lan() && !internal.is_router(ip("10.1.0.1")));
    }
}
