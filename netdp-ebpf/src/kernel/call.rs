//! Calls that the verifier walks through once.
//!
//! A function is verified anew at each call, with all that is known there, unless it has a symbol of its own that is global
//! (kernel 5.6, 51c39bb1d5d1): then once, knowing nothing, which is a third of the work. The price is the signature: the
//! context, numbers, and pointers to sized memory (5.12, e5069b9c23b3) that may be null; a number is returned.

use netdp_common::Reason;

use super::forward::Action;

/// Numbers from here on are reasons.
const REASONS: u32 = 0x100;

/// What a call returns that only fails or does not.
#[inline(always)]
pub(super) fn failed(result: Result<(), Reason>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(reason) => reason.number(),
    }
}

/// The result of a number of [`failed`].
#[inline(always)]
pub(super) fn outcome(number: u32) -> Result<(), Reason> {
    // SAFETY: no reason that is a drop is zero, and others than those of `failed` are not given to this.
    if number == 0 { Ok(()) } else { Err(unsafe { reason(number) }) }
}

/// What a call returns that decides.
#[inline(always)]
pub(super) fn decided(decision: Result<Action, Reason>) -> u32 {
    match decision {
        Ok(action) => action as u32,
        Err(reason) => REASONS + reason.number(),
    }
}

/// The decision of a number of [`decided`].
#[inline(always)]
pub(super) fn decision(number: u32) -> Result<Action, Reason> {
    // SAFETY: only numbers of `decided` are given to this: below `REASONS` they are of actions, and above of reasons.
    unsafe {
        if number < REASONS {
            return Ok(core::mem::transmute::<u32, Action>(number));
        }
        Err(reason(number - REASONS))
    }
}

/// # Safety
/// The number is one of a reason.
#[inline(always)]
unsafe fn reason(number: u32) -> Reason {
    // SAFETY: by the contract of this function; `Reason` is as large as its number.
    unsafe { core::mem::transmute::<u32, Reason>(number) }
}
