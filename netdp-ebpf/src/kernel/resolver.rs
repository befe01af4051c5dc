//! What an endpoint sends to port 53 of its gateway is for our resolver, whoever else has that port on this host. What anybody
//! else sends there is not: the bridge may be that of a LAN, whose clients ask a server of the host's own.
//!
//! An address that is the host's own and lies in the subnet of a network is the gateway of that network: nothing has to be
//! told when networks and endpoints come and go. While no resolver runs there is no socket to be found, and the look-up goes
//! on as if this were not here.

use core::ptr::addr_of;

use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::SkLookupContext;
use netdp_common::{Addr, EndpointKey, proto, resolver, subnet};

use super::maps::{ENDPOINTS, RESOLVERS, SUBNETS};

/// `AF_INET` of `linux/socket.h`.
const AF_INET: u32 = 2;

/// Chooses the socket, if the packet is for the resolver.
#[inline(always)]
pub(super) fn hand_over(ctx: &SkLookupContext) {
    let lookup = ctx.lookup;
    // SAFETY: the context that the kernel gave to this run of the program.
    let (port, family, protocol) = unsafe { ((*lookup).local_port, (*lookup).family, (*lookup).protocol) };
    if port != resolver::PORT {
        return;
    }
    let (addr, remote, datagrams, connections) = if family == AF_INET {
        // SAFETY: as above.
        let (local, remote) = unsafe { ((*lookup).local_ip4, (*lookup).remote_ip4) };
        (Addr::from_v4_be(local), Addr::from_v4_be(remote), resolver::UDP4, resolver::TCP4)
    } else {
        // SAFETY: as above; nothing is read here.
        let (local, remote) = unsafe { (addr_of!((*lookup).local_ip6), addr_of!((*lookup).remote_ip6)) };
        let (local, remote) = (address6(local), address6(remote));
        // As the tables have addresses of IPv4, which no packet of IPv6 has.
        if local.is_v4() || remote.is_v4() {
            return;
        }
        (local, remote, resolver::UDP6, resolver::TCP6)
    };
    let Some(row) = SUBNETS.get(Key::new(128, addr)) else { return };
    let asker = EndpointKey { addr: remote, network: subnet::network(*row) };
    // SAFETY: only whether there is a value is looked at.
    if unsafe { ENDPOINTS.get(asker) }.is_none() {
        return;
    }
    let socket = match u8::try_from(protocol) {
        Ok(proto::UDP) => datagrams,
        Ok(proto::TCP) => connections,
        _ => return,
    };
    // Without a resolver there is none.
    let _ = RESOLVERS.redirect_sk_lookup(ctx, socket, 0);
}

#[inline(always)]
fn address6(words: *const [u32; 4]) -> Addr {
    let ip = words.cast::<u32>();
    // SAFETY: four words of the context; they are read one by one, as the verifier demands.
    Addr(unsafe {
        [ip.read_volatile(), ip.add(1).read_volatile(), ip.add(2).read_volatile(), ip.add(3).read_volatile()]
    })
}
