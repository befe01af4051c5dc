//! One packet, one program: accepted, refused, malformed; verdict, bytes and exact change of state.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test, and the panic says which")]

mod between_families;
mod discovery;
mod extension_headers;
mod fixture;
mod forged;
mod ipv4_only;
mod malformed;
mod mapping;
mod prefilter;
mod quota;
mod reasons;
mod resolver;
mod rogue;
mod source;
mod table;
mod verifier;

/// What is the same for both families, with the addresses of one.
#[path = "."]
mod ipv4 {
    use crate::fixture::ipv4 as stations;

    mod answer;
    mod cost;
    mod direct;
    mod fragments;
    mod from_container;
    mod from_host;
    mod from_uplink;
    mod hairpin;
    mod icmp_error;
    mod masquerade;
    mod mss;
    mod on_lan;
    mod outgoing;
    mod protocols;
    mod route;
    mod to_bridge;
    mod to_uplink;
    mod unasked;
}

/// And with those of the other.
#[path = "."]
#[expect(clippy::duplicate_mod, reason = "the same tests, with other addresses")]
mod ipv6 {
    use crate::fixture::ipv6 as stations;

    mod answer;
    mod cost;
    mod direct;
    mod fragments;
    mod from_container;
    mod from_host;
    mod from_uplink;
    mod hairpin;
    mod icmp_error;
    mod masquerade;
    mod mss;
    mod on_lan;
    mod outgoing;
    mod protocols;
    mod route;
    mod to_bridge;
    mod to_uplink;
    mod unasked;
}
