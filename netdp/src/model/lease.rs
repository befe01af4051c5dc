//! Addresses that a DHCP server of the LAN has lent.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{Mac, NetworkRoute};

/// What a DHCP server has lent to one interface. Kept as JSON: a field that an older database lacks has its default.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lease {
    /// The interface of the host that is on the server's LAN.
    pub parent: String,
    /// The MAC that it was lent to.
    pub mac: Mac,
    /// The name that the server was told.
    pub hostname: String,
    /// The address with the length of its subnet's prefix.
    pub address: Ipv4Net,
    /// The router, in that subnet.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, in the order in which they are to be asked.
    #[serde(default)]
    pub name_servers: Vec<IpAddr>,
    /// What the LAN takes in bytes, where that is less than the host's interface does.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Routes beside the default one.
    #[serde(default)]
    pub routes: Vec<NetworkRoute>,
    /// The server's own address.
    pub server: Ipv4Addr,
    /// Where frames to the server go: the server itself or the router before it.
    pub server_mac: Mac,
    /// Seconds since 1970 when it was lent or last renewed.
    pub since: u64,
    /// From when on the server is asked to renew it, in seconds after `since` (T1 of RFC 2131, 4.4.5).
    pub renew_after: u32,
    /// From when on any server is (T2).
    pub rebind_after: u32,
    /// When it ends; [`Lease::FOR_EVER`] is never.
    pub ends_after: u32,
}

/// What is to be done about a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Nothing.
    Bound,
    /// The server is asked to renew it.
    Renewing,
    /// Any server is.
    Rebinding,
    /// The address is not the endpoint's any more.
    Over,
}

impl Lease {
    /// A time that never comes (RFC 2131, 3.3).
    pub const FOR_EVER: u32 = u32::MAX;

    /// Where in its life it is, `now` in seconds since 1970.
    pub fn phase(&self, now: u64) -> Phase {
        // A clock that was set back tells nothing about the time since: the server knows.
        let Some(age) = now.checked_sub(self.since) else { return Phase::Renewing };
        let past = |limit: u32| limit != Self::FOR_EVER && age >= u64::from(limit);
        if past(self.ends_after) {
            Phase::Over
        } else if past(self.rebind_after) {
            Phase::Rebinding
        } else if past(self.renew_after) {
            Phase::Renewing
        } else {
            Phase::Bound
        }
    }

    /// Seconds since 1970 when it ends; none is never.
    pub fn ends(&self) -> Option<u64> {
        (self.ends_after != Self::FOR_EVER).then(|| self.since.saturating_add(self.ends_after.into()))
    }

    /// The address as an interface carries it.
    pub fn net(&self) -> IpNet {
        self.address.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Bound, Over, Rebinding, Renewing};

    fn lease(times: [u32; 3]) -> Lease {
        let [renew_after, rebind_after, ends_after] = times;
        Lease { renew_after, rebind_after, ends_after, ..crate::fake::lease(1000) }
    }

    #[test]
    fn a_lease_is_renewed_then_rebound_then_over() {
        let lease = lease([60, 105, 120]);
        let phases = [1000, 1059, 1060, 1104, 1105, 1119, 1120, 9000].map(|now| lease.phase(now));
        assert_eq!(phases, [Bound, Bound, Renewing, Renewing, Rebinding, Rebinding, Over, Over]);
        assert_eq!(lease.ends(), Some(1120));
        assert_eq!(lease.phase(10), Renewing, "the clock was set back");
    }

    #[test]
    fn a_lease_for_ever_stays() {
        let lease = lease([Lease::FOR_EVER; 3]);
        assert_eq!((lease.phase(u64::MAX), lease.ends()), (Bound, None));
    }

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        let lease = lease([60, 105, 120]);
        let text = serde_json::to_string(&lease).unwrap();
        assert_eq!(serde_json::from_str::<Lease>(&text).unwrap(), lease);
    }
}
