//! What the kernel's verifier says of each program.

use netdp_common::names;
use tests::process::measured;
use tests::program::verified_instructions;

/// The verifier gives up at one million; a program that comes near it is refused by an older kernel.
const CEILING: u32 = 100_000;

#[test]
fn every_program_is_accepted_well_below_the_verifiers_limit() {
    let programs = [names::FROM_CONTAINER, names::FROM_UPLINK, names::TO_UPLINK, names::TO_BRIDGE, names::FROM_HOST];
    for (name, instructions) in verified_instructions(&programs) {
        measured(&format!("{name}: {instructions} instructions verified"));
        assert!(instructions < CEILING, "{name}: {instructions}");
    }
}
