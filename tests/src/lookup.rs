//! One look-up of a socket through a program that chooses sockets (`sk_lookup`), which aya does not run: by
//! `BPF_PROG_TEST_RUN` as for the others.

use std::io;
use std::mem::zeroed;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::SockMap;
use aya::programs::SkLookup;
use aya_obj::generated::{bpf_attr, bpf_cmd};
use netdp_common::names;

use crate::program::Machine;

/// For whom a socket is looked for: the first packet of a connection, or a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Lookup {
    /// Number of the protocol.
    pub protocol: u8,
    /// Who has sent it.
    pub from: (IpAddr, u16),
    /// The host's address and port.
    pub to: (IpAddr, u16),
}

/// `struct bpf_sk_lookup` of `linux/bpf.h`. Addresses and the remote port are in network order, the local one is not.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Context {
    cookie: u64,
    family: u32,
    protocol: u32,
    remote_ip4: [u8; 4],
    remote_ip6: [u8; 16],
    remote_port: [u8; 2],
    zero: u16,
    local_ip4: [u8; 4],
    local_ip6: [u8; 16],
    local_port: u32,
    ingress_ifindex: u32,
    pad: u32,
}

const _: () = assert!(size_of::<Context>() == 72);

impl Lookup {
    fn context(&self) -> Context {
        let mut context = Context {
            protocol: self.protocol.into(),
            remote_port: self.from.1.to_be_bytes(),
            local_port: self.to.1.into(),
            ..Context::default()
        };
        match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                context.family = libc::AF_INET.cast_unsigned();
                (context.remote_ip4, context.local_ip4) = (from.octets(), to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                context.family = libc::AF_INET6.cast_unsigned();
                (context.remote_ip6, context.local_ip6) = (from.octets(), to.octets());
            }
            mixed => panic!("no packet is of two families: {mixed:?}"),
        }
        context
    }
}

impl Machine {
    /// Has a socket be one of the resolver's.
    pub fn put_resolver(&mut self, number: u32, socket: &impl AsRawFd) {
        let map = self.map_mut(names::RESOLVERS);
        SockMap::try_from(map).unwrap().set(number, socket, 0).unwrap();
    }

    /// The socket that the program chooses, by its cookie; `None` when the look-up goes on without it.
    pub fn look_up(&mut self, lookup: &Lookup) -> Option<u64> {
        let program: &mut SkLookup = self.program_mut(names::RESOLVER).try_into().unwrap();
        if program.fd().is_err() {
            program
                .load()
                .unwrap_or_else(|e| panic!("{}: {}", names::RESOLVER, netdp::datapath::refusal(&e)));
        }
        let (given, mut taken) = (lookup.context(), Context::default());
        let size = u32::try_from(size_of::<Context>()).unwrap();
        // SAFETY: all-zero is a valid `bpf_attr`, a union of structs of integers.
        let mut attr: bpf_attr = unsafe { zeroed() };
        attr.test.prog_fd = program.fd().unwrap().as_fd().as_raw_fd().cast_unsigned();
        (attr.test.ctx_in, attr.test.ctx_size_in) = (std::ptr::from_ref(&given) as u64, size);
        (attr.test.ctx_out, attr.test.ctx_size_out) = (std::ptr::from_mut(&mut taken) as u64, size);
        // SAFETY: the attribute and both contexts are live for the call, and of the lengths that are passed.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, bpf_cmd::BPF_PROG_TEST_RUN, &raw mut attr, size_of::<bpf_attr>())
        };
        assert!(result >= 0, "{lookup:?}: {}", io::Error::last_os_error());
        // SAFETY: this is the member that was filled above, and the kernel has written the verdict to it.
        let verdict = unsafe { attr.test.retval };
        // SK_PASS: the host's own sockets are never out of reach.
        assert_eq!(verdict, 1, "{lookup:?}");
        assert_eq!((taken.family, taken.local_port), (given.family, given.local_port));
        (taken.cookie != 0).then_some(taken.cookie)
    }
}

/// What the kernel knows a socket by.
pub fn cookie(socket: &impl AsRawFd) -> u64 {
    let (mut cookie, mut length) = (0_u64, libc::socklen_t::try_from(size_of::<u64>()).unwrap());
    // SAFETY: the cookie is live and of the length that is passed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    cookie
}
