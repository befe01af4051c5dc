//! The timers as an operator may set them (map `SETTINGS`): one row per state, at the state's number. Rows that no state has
//! are limits ([`crate::quota`]).

use crate::timers::{State, timeout_ticks};

/// Rows of the map; every state's number is below. Each is a timeout in ticks ([`crate::timers`]), native order; zero,
/// as the kernel makes it, stands for the default.
pub const ROWS: u32 = 64;

/// The shortest timeout in seconds that can be set at all. A stamp may be a tick old when it is written and a tick late
/// when it is read, so that less would end flows between two packets that follow one another.
pub const SHORTEST: u32 = 3;

/// The longest: half of what the stamps can tell apart would be 73 years; one is enough.
pub const LONGEST: u32 = 365 * 24 * 3600;

/// Why a timer is not set so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Outside of [`SHORTEST`] to [`LONGEST`], which nothing allows.
    Range,
    /// Below the floor of this many seconds, which an RFC sets.
    Floor(u32),
}

/// Whether a state's timer may be set to so many seconds; `below_floor` is what the operator takes upon himself.
///
/// # Errors
/// See [`Refused`].
pub const fn check(state: State, seconds: u32, below_floor: bool) -> Result<(), Refused> {
    if seconds < SHORTEST || seconds > LONGEST {
        return Err(Refused::Range);
    }
    match state.floor() {
        Some((floor, _)) if seconds < floor && !below_floor => Err(Refused::Floor(floor)),
        _ => Ok(()),
    }
}

/// The timeout of a state in ticks, given its row.
#[inline(always)]
pub const fn timeout(state: State, row: u32) -> u32 {
    if row == 0 { state.default_ticks() } else { row }
}

/// The row of a timer that is set to so many seconds; those of [`check`] are never zero.
pub const fn row(seconds: u32) -> u32 {
    timeout_ticks(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_row() {
        assert!(State::ALL.iter().all(|state| u32::from(state.number()) < ROWS));
    }

    #[test]
    fn a_row_of_zero_is_the_default_and_what_is_set_is_never_zero() {
        for &state in State::ALL {
            assert_eq!(timeout(state, 0), state.default_ticks());
            assert_eq!(timeout(state, row(SHORTEST)), 3);
            assert_eq!(row(state.default_seconds()), state.default_ticks());
        }
    }

    #[test]
    fn a_timer_below_its_floor_is_refused_unless_the_operator_takes_it_upon_himself() {
        assert_eq!(check(State::TcpEstablished, 7439, false), Err(Refused::Floor(7440)));
        assert_eq!(check(State::TcpEstablished, 7439, true), Ok(()));
        assert_eq!(check(State::TcpEstablished, 7440, false), Ok(()));
        assert_eq!(check(State::TcpSynSent, 5, false), Ok(()), "no RFC asks for more");
        for seconds in [0, 1, 2, LONGEST + 1, u32::MAX] {
            assert_eq!(check(State::UdpReplied, seconds, true), Err(Refused::Range));
        }
    }

    #[test]
    fn no_default_is_below_its_floor() {
        for &state in State::ALL {
            assert_eq!(check(state, state.default_seconds(), false), Ok(()), "{}", state.name());
        }
    }
}
