//! Runs a command as on a kernel that lacks something.
//!
//! A seccomp filter hands the `bpf(2)` calls in question to a supervisor thread here, which looks at what is asked for:
//! what an older kernel lacks is refused with its error, and in its words where it has some; all else goes on.

use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::{self, JoinHandle};

use libc::{seccomp_notif, seccomp_notif_resp, sock_filter};

use crate::process::{Ran, run};

/// What is lacking.
#[derive(Debug, Clone, Copy)]
pub enum Lack {
    /// Links of the kind TCX, as before 6.6.
    Tcx,
    /// The helper of this number.
    Helper(u32),
    /// The patience to verify a program of more than a hundred instructions.
    Patience,
}

/// `BPF_PROG_LOAD` of `linux/bpf.h`.
const PROG_LOAD: u32 = 5;
/// `BPF_LINK_CREATE` of `linux/bpf.h`.
const LINK_CREATE: u32 = 28;
/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`.
const TCX: [u32; 2] = [46, 47];
/// Offset of `attach_type` in the attribute of `BPF_LINK_CREATE`.
const ATTACH_TYPE: u64 = 8;
/// Offsets in the attribute of `BPF_PROG_LOAD`.
const INSN_CNT: u64 = 4;
const INSNS: u64 = 8;
const LOG_SIZE: u64 = 28;
const LOG_BUF: u64 = 32;

/// Opcode of the call of a helper, in an instruction whose source register is 0.
const CALL: u8 = 0x85;

/// The instructions that [`Lack::Patience`] has patience for.
const PATIENCE: u32 = 100;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

/// Runs the command to its end without TCX.
pub fn run_without_tcx(command: &mut Command) -> Ran {
    run_without(Lack::Tcx, command)
}

/// Runs the command to its end on a kernel with this lack.
pub fn run_without(lack: Lack, command: &mut Command) -> Ran {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let socket = theirs.as_raw_fd();
    let restrict = move || send_listener(socket, install_filter(lack)?);
    // SAFETY: between fork and exec the closure makes system calls on stack memory only; the socket is open in
    // the child, because it is closed on exec and not before.
    unsafe { command.pre_exec(restrict) };
    let supervisor = thread::spawn(move || supervise(lack, &ours));
    let ran = run(command);
    // The last copy of this end that could still carry a listener.
    drop(theirs);
    join(supervisor);
    ran
}

fn join(supervisor: JoinHandle<io::Result<()>>) {
    supervisor.join().unwrap().unwrap_or_else(|e| panic!("the seccomp supervisor failed: {e}"));
}

fn filter(lack: Lack) -> [sock_filter; 6] {
    let command = match lack {
        Lack::Tcx => LINK_CREATE,
        Lack::Helper(_) | Lack::Patience => PROG_LOAD,
    };
    let step = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let unless = |k, jf| sock_filter { code: 0x15, jt: 0, jf, k };
    let bpf = u32::try_from(libc::SYS_bpf).unwrap_or(u32::MAX);
    [
        step(0x20, NUMBER),
        unless(bpf, 3),
        step(0x20, FIRST_ARGUMENT),
        unless(command, 1),
        step(0x06, libc::SECCOMP_RET_USER_NOTIF),
        step(0x06, libc::SECCOMP_RET_ALLOW),
    ]
}

/// Puts the calling process under the filter and gives the descriptor that its notifications come by.
fn install_filter(lack: Lack) -> io::Result<i32> {
    let steps = filter(lack);
    let program = libc::sock_fprog { len: 6, filter: steps.as_ptr().cast_mut() };
    // SAFETY: the program and its steps outlive the call, and the kernel copies them.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if listener < 0 {
        Err(io::Error::last_os_error())
    } else {
        i32::try_from(listener).map_err(io::Error::other)
    }
}

/// Room for one control message with one descriptor, aligned as the kernel's header is.
type Control = [u64; 3];

/// A message of one byte with room for a descriptor beside it.
fn message(byte: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: msghdr is made of integers and pointers; all zero is a value of it.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = byte;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>();
    message
}

fn send_listener(socket: i32, listener: i32) -> io::Result<()> {
    let (mut byte, mut control) = ([0_u8], [0; 3]);
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let message = message(&mut part, &mut control);
    // SAFETY: the control buffer has room for the header and one descriptor, so CMSG_FIRSTHDR and CMSG_DATA point
    // into it; all buffers outlive the call.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = size_of::<libc::cmsghdr>() + size_of::<i32>();
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(listener);
        libc::sendmsg(socket, &raw const message, 0)
    };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn receive_listener(socket: &UnixStream) -> io::Result<OwnedFd> {
    let (mut byte, mut control) = ([0_u8], [0; 3]);
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut message = message(&mut part, &mut control);
    // SAFETY: as in `send_listener`; the descriptor is read only when the kernel says that there is a message, and
    // it is new in this process, so nobody else owns it.
    unsafe {
        let received = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if received != 1 || header.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<i32>().read_unaligned()))
    }
}

/// Answers every notification until the last process under the filter has ended.
fn supervise(lack: Lack, socket: &UnixStream) -> io::Result<()> {
    let listener = receive_listener(socket)?;
    loop {
        let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which outlives the call.
        if unsafe { libc::poll(&raw mut poll, 1, -1) } < 0 {
            return Err(io::Error::last_os_error());
        }
        if poll.revents & libc::POLLIN == 0 {
            return Ok(());
        }
        answer(lack, &listener)?;
    }
}

fn answer(lack: Lack, listener: &OwnedFd) -> io::Result<()> {
    // SAFETY: both are made of integers; the kernel demands that they begin as zero.
    let (mut asked, mut response): (seccomp_notif, seccomp_notif_resp) = unsafe { (zeroed(), zeroed()) };
    // SAFETY: the request is for a seccomp_notif, which `asked` is.
    let got = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) };
    if got != 0 {
        // ENOENT: it was killed before we looked.
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ENOENT) { Ok(()) } else { Err(error) };
    }
    response.id = asked.id;
    if let Some(errno) = refused(lack, &Asker::of(&asked)?)? {
        response.error = -errno;
    } else {
        response.flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).map_err(io::Error::other)?;
    }
    // SAFETY: the request is for a seccomp_notif_resp, which `response` is. That it fails means that the asker is gone.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
    Ok(())
}

/// The memory of the process that waits for an answer, from the attribute of its call on.
struct Asker {
    memory: File,
    attribute: u64,
}

impl Asker {
    fn of(asked: &seccomp_notif) -> io::Result<Self> {
        let memory = File::options().read(true).write(true).open(format!("/proc/{}/mem", asked.pid))?;
        Ok(Self { memory, attribute: asked.data.args[1] })
    }

    fn u32(&self, offset: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.memory.read_exact_at(&mut bytes, self.attribute + offset)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn u64(&self, offset: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, self.attribute + offset)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Whether the program that is to be loaded calls a helper.
    fn calls(&self, helper: u32) -> io::Result<bool> {
        let mut program = vec![0; usize::try_from(self.u32(INSN_CNT)?).unwrap() * 8];
        self.memory.read_exact_at(&mut program, self.u64(INSNS)?)?;
        let calls = |code: &[u8]| code[0] == CALL && code[1] >> 4 == 0 && code[4..8] == helper.to_ne_bytes();
        Ok(program.chunks_exact(8).any(calls))
    }

    /// Writes the verifier's last words where the asker wants to read them, if it does.
    fn log(&self, line: &str) -> io::Result<()> {
        let room = usize::try_from(self.u32(LOG_SIZE)?).unwrap();
        if line.len() < room {
            self.memory.write_all_at(format!("{line}\0").as_bytes(), self.u64(LOG_BUF)?)?;
        }
        Ok(())
    }
}

/// The errno of a kernel with this lack; `None` when it lacks nothing that is asked for.
fn refused(lack: Lack, asker: &Asker) -> io::Result<Option<i32>> {
    match lack {
        Lack::Tcx => Ok(TCX.contains(&asker.u32(ATTACH_TYPE)?).then_some(libc::EINVAL)),
        Lack::Helper(number) if asker.calls(number)? => {
            asker.log(&format!("invalid func unknown#{number}\nprocessed 1 insns (limit 1000000)\n"))?;
            Ok(Some(libc::EINVAL))
        }
        Lack::Patience if asker.u32(INSN_CNT)? > PATIENCE => {
            asker.log("BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns\n")?;
            Ok(Some(libc::E2BIG))
        }
        Lack::Helper(_) | Lack::Patience => Ok(None),
    }
}
