//! The oldest kernel, in one place.
//!
//! Nothing is refused for its version: what netdp needs is tried, so a kernel with features ported back is as good as a
//! newer one. The version only helps to say what to do.
//!
//! It is 6.1 because that is the oldest kernel that the tests boot. By what the programs call it would be 5.18, for
//! `bpf_set_retval`: without it `bind(2)` to a published port fails with EPERM instead of EADDRINUSE, and no speed can
//! be traded for that. So 5.15 cannot be had. From 5.18 to 6.0 netdp may work, and `netdp up` tries; but the verifier
//! of 6.1 counts stack and instructions otherwise than that of 6.12, and what still older ones count nobody has seen.

use std::fmt;

use nix::sys::utsname::uname;

use super::CheckRow;

/// The oldest kernel that netdp is tested on.
pub const MINIMUM: Release = Release { major: 6, minor: 1 };

/// A release of Linux.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Release {
    /// 6 of 6.1.
    pub major: u32,
    /// 1 of 6.1.
    pub minor: u32,
}

impl Release {
    /// Of a name like `6.1.0-56-cloud-amd64`.
    fn of(name: &str) -> Option<Self> {
        let mut numbers = name.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return None };
        Some(Self { major, minor })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {}.{}", self.major, self.minor)
    }
}

pub(super) fn row() -> CheckRow {
    let row = match name() {
        Err(error) => CheckRow::missing("kernel", format!("it does not say its version: {error}")),
        Ok(name) if is_older(&name) => CheckRow::missing("kernel", older(&name)),
        Ok(name) => CheckRow::found("kernel", format!("{name}; netdp is tested from {MINIMUM} on")),
    };
    row.optional()
}

/// A hint for those whose kernel lacks something, when it is older than what netdp is tested on.
pub(crate) fn hint() -> Option<String> {
    name().ok().filter(|name| is_older(name)).map(|name| older(&name))
}

fn name() -> Result<String, String> {
    uname().map(|name| name.release().to_string_lossy().into_owned()).map_err(|e| e.desc().to_owned())
}

fn is_older(name: &str) -> bool {
    Release::of(name).is_some_and(|release| release < MINIMUM)
}

fn older(name: &str) -> String {
    format!("{name} is older than {MINIMUM}, the oldest that netdp is tested on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_from_its_name() {
        let release = |major, minor| Some(Release { major, minor });
        assert_eq!(Release::of("6.1.0-56-cloud-amd64"), release(6, 1));
        assert_eq!(Release::of("6.18-rc1"), release(6, 18));
        assert_eq!(Release::of("next"), None);
    }

    #[test]
    fn older_is_by_number_and_not_by_letter() {
        assert!(is_older("5.15.0-91-generic") && is_older("6.0.12"));
        assert!(!is_older("6.1.0") && !is_older("6.12.1") && !is_older("10.0.1"));
        assert!(!is_older("a name without numbers"), "it is tried, not refused");
    }
}
