//! What the resolver gives up once its sockets are open: it reads what containers and strangers send, so that a mistake in it
//! must not be root's.
//!
//! Opening took `CAP_NET_RAW` (the sockets that answers leave by), `CAP_NET_ADMIN` and `CAP_BPF` (the way from port 53, and a
//! backlog beyond the host's limit). Receiving, answering and asking others take nothing: it binds no port below 1024, and the
//! kernel asks for the right to a raw socket when that is opened only. A resolver that takes its place opens its own.
//!
//! `CAP_DAC_OVERRIDE` stays: the database may lie below a directory that root can enter by nothing else, as somebody's home,
//! and is opened again whenever it could not be read. As long as the owner of netdp's files is root, taking that away would
//! keep no other file from it.

use std::io;

use super::Error;

/// Of `linux/capability.h`: files and directories, whatever their modes say.
const CAP_DAC_OVERRIDE: u32 = 1;
/// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits, in two halves, the lower first.
const VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`
#[repr(C)]
struct Header {
    version: u32,
    /// Zero is the calling thread.
    pid: i32,
}

/// `struct __user_cap_data_struct`: one half of each set.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Leaves the calling thread, and those that it starts from now on, with what serving takes. There is no way back.
///
/// # Errors
/// The kernel refuses, which it has no reason to.
pub fn give_up() -> Result<(), Error> {
    let failed = || Error::socket("give up its privileges");
    let kept = 1 << CAP_DAC_OVERRIDE;
    let own = own().map_err(failed())?;
    // Whoever was started with less keeps less.
    let lower = Half { effective: own.effective & kept, permitted: own.permitted & kept, inheritable: 0 };
    set([lower, Half::default()]).map_err(failed())?;
    nix::sys::prctl::set_no_new_privs().map_err(|errno| failed()(errno.into()))
}

fn own() -> io::Result<Half> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: both are live for the call, of the layout that the kernel has, and it writes two halves for this version.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(halves[0]) }
}

fn set(halves: [Half; 2]) -> io::Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: both are live for the call and of the layout that the kernel has; it reads two halves for this version.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;

    fn line(status: &str, key: &str) -> u64 {
        let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
        u64::from_str_radix(value, 16).unwrap()
    }

    #[test]
    fn one_capability_is_left_at_most_and_none_can_be_had_again() {
        let check = || {
            give_up().unwrap();
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            for set in ["CapInh:", "CapPrm:", "CapEff:"] {
                assert_eq!(line(&status, set) & !(1 << CAP_DAC_OVERRIDE), 0, "{set} {status}");
            }
            assert_eq!(line(&status, "NoNewPrivs:"), 1);
        };
        // Another thread of the test must not lose what it has.
        thread::spawn(check).join().unwrap();
    }
}
