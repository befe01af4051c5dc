//! What the kernel's verifier says of each program.

use tests::process::measured;
use tests::program::{PROGRAMS, verified_instructions};

/// The verifier gives up at one million; a program that comes near it is refused by an older kernel.
const CEILING: u32 = 100_000;

#[test]
fn every_program_is_accepted_well_below_the_verifiers_limit() {
    for (name, instructions) in verified_instructions(&PROGRAMS) {
        measured(&format!("{name}: {instructions} instructions verified"));
        assert!(instructions < CEILING, "{name}: {instructions}");
    }
}
