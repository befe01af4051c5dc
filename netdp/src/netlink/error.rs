//! What can go wrong when the kernel is asked over rtnetlink, in words that an operator can act on.

use std::io;

use nix::errno::Errno;
use rtnetlink::packet_core::ErrorMessage;

/// An rtnetlink request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket could be opened.
    #[error(
        "cannot open a netlink socket: {cause}; netdp needs AF_NETLINK, which a seccomp filter may forbid"
    )]
    Socket {
        /// What the kernel said.
        cause: io::Error,
    },
    /// The namespace that the socket was to be opened in could not be entered.
    #[error(transparent)]
    Namespace(#[from] crate::host::netns::Error),
    /// The kernel refused the request.
    #[error("cannot {operation} {object}: {reason}")]
    Refused {
        /// The verb, for example `create bridge`.
        operation: &'static str,
        /// What it was done to, for example `netdp0`.
        object: String,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's message and what to do about it.
        reason: String,
    },
    /// The conversation broke off before the kernel had answered.
    #[error("cannot {operation} {object}: the kernel gave no complete answer; try again")]
    NoAnswer {
        /// The verb.
        operation: &'static str,
        /// What it was done to.
        object: String,
    },
}

impl Error {
    /// The kernel's error number, when the kernel answered with one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Socket { cause } => cause.raw_os_error().map(Errno::from_raw),
            Self::Namespace(_) | Self::NoAnswer { .. } => None,
        }
    }

    /// The object is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// The object is not, or no longer, there.
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENODEV | Errno::ESRCH | Errno::EADDRNOTAVAIL))
    }

    /// The kernel has no such kind of interface.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno(), Some(Errno::EOPNOTSUPP))
    }

    /// The caller lacks a privilege.
    pub fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(Errno::EPERM | Errno::EACCES))
    }
}

/// What is asked of the kernel, for the error message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) operation: &'static str,
    pub(super) object: &'a str,
}

impl Request<'_> {
    pub(super) fn no_answer(self) -> Error {
        Error::NoAnswer { operation: self.operation, object: self.object.to_owned() }
    }

    pub(super) fn refused(self, message: &ErrorMessage) -> Error {
        self.refused_with(message.raw_code(), extended_ack(&message.header))
    }

    /// `code` is negative, as netlink carries it.
    pub(super) fn refused_with(self, code: i32, detail: Option<String>) -> Error {
        let errno = Errno::from_raw(code.saturating_abs());
        let mut reason = format!("{} ({errno:?})", errno.desc());
        if let Some(detail) = detail {
            reason = format!("{reason}: {detail}");
        }
        if let Some(advice) = advice(errno) {
            reason = format!("{reason}; {advice}");
        }
        Error::Refused { operation: self.operation, object: self.object.to_owned(), errno, reason }
    }
}

fn advice(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::EPERM | Errno::EACCES => Some("run netdp as root, or with CAP_NET_ADMIN in both namespaces"),
        Errno::EEXIST => Some("there is one already: remove it or choose another"),
        Errno::ENODEV => Some("there is no such interface (any more)"),
        Errno::EOPNOTSUPP => Some("this kernel lacks that kind of interface: load its module or build it in"),
        Errno::ENETDOWN => Some("the interface is down: bring it up first"),
        Errno::ENETUNREACH => Some("the gateway is in no subnet of that interface, or the interface is down"),
        Errno::ERANGE => Some("the name of an interface has at most 15 bytes"),
        Errno::EBUSY => Some("the interface belongs to another controller already"),
        Errno::ENFILE | Errno::EMFILE | Errno::ENOMEM | Errno::ENOBUFS => {
            Some("the machine is out of memory or of file descriptors")
        }
        _ => None,
    }
}

/// Bytes of `struct nlmsghdr`, which with `NETLINK_CAP_ACK` is all that is echoed of the request.
const HEADER_LEN: usize = 16;
/// `NLMSGERR_ATTR_MSG`: a text, NUL-terminated.
const ATTR_MSG: u16 = 1;

/// The kernel's own sentence, from the attributes (`NETLINK_EXT_ACK`) that follow the echoed header.
fn extended_ack(echo: &[u8]) -> Option<String> {
    let mut rest = echo.get(HEADER_LEN..)?;
    while let [l0, l1, t0, t1, ..] = *rest {
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..len)?;
        if u16::from_ne_bytes([t0, t1]) == ATTR_MSG {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request<'_> = Request { operation: "create bridge", object: "netdp0" };

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).expect("short");
        let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn message_names_the_object_the_reason_and_the_remedy() {
        let error = REQUEST.refused_with(-libc::EEXIST, None);
        assert!(error.is_exists());
        assert_eq!(
            error.to_string(),
            "cannot create bridge netdp0: File exists (EEXIST); there is one already: remove it or choose another"
        );
    }

    #[test]
    fn missing_and_denied_are_told_apart() {
        assert!(REQUEST.refused_with(-libc::ENODEV, None).is_missing());
        assert!(REQUEST.refused_with(-libc::EPERM, None).is_denied());
        assert!(!REQUEST.refused_with(-libc::EPERM, None).is_missing());
    }

    #[test]
    fn the_kernels_sentence_is_found_behind_other_attributes() {
        let echo =
            [vec![0; HEADER_LEN], attribute(2, &[1, 2, 3, 4]), attribute(ATTR_MSG, b"Invalid gateway\0")];
        assert_eq!(extended_ack(&echo.concat()).as_deref(), Some("Invalid gateway"));
    }

    #[test]
    fn a_truncated_attribute_is_no_sentence() {
        let mut echo = [vec![0; HEADER_LEN], attribute(ATTR_MSG, b"Invalid gateway\0")].concat();
        echo.truncate(HEADER_LEN + 9);
        assert_eq!(extended_ack(&echo), None);
        assert_eq!(extended_ack(&[0; 7]), None);
        assert_eq!(extended_ack(&[[0; HEADER_LEN].as_slice(), &[0, 0, 0, 0]].concat()), None);
    }
}
