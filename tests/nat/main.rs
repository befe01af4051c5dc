//! What the RFCs ask of a NAT, and the attacks and incidents that others had: each on the wire, by what the outside and the
//! container received. `requirements.txt` says which test proves which requirement.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test, and the panic says which")]

mod aging;
mod attacks;
mod checked_errors;
mod endpoint_independent;
mod errors;
mod excluded;
mod expired;
mod filtering;
mod fragments;
mod gateway;
mod hairpin;
mod lan;
mod mapping;
mod path;
mod pressure;
mod priority;
mod quotas;
mod races;
mod rogue;
mod route;
mod sequence;
mod source_address;
mod source_routes;
mod tcp;
mod unsolicited;
mod wire;
