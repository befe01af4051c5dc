//! What is allowed to differ between two right translators is given one name: the port that each has chosen, and the
//! identification of what the hosts themselves send. Every other byte is compared.

use std::net::Ipv4Addr;

use tests::packet::{ICMP, RST, TCP, UDP};

use crate::frame::{self, IP, address, check_at, get16, header_length, is_error, put16};

/// A port that one bed has chosen, and the client's own, which names it in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) chosen: u16,
    pub(crate) name: u16,
}

/// A frame as both beds must have it. `answered` says that the host itself made it.
pub(crate) fn canonical(frame: &[u8], host: Ipv4Addr, naming: Option<Naming>, answered: bool) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if !frame::is_ipv4(&frame) {
        return frame;
    }
    // Ethernet pads short frames; what stands there is nobody's.
    let end = IP + usize::from(get16(&frame, IP + 2).unwrap_or(0));
    frame.truncate(end.max(IP + 20));
    if answered {
        replace(&mut frame, IP + 4, 0, &[IP + 10]);
    }
    let Some(naming) = naming else { return frame };
    rename(&mut frame, IP, host, naming, None);
    let Some(l4) = header_length(&frame, IP).map(|length| IP + length) else { return frame };
    if frame[IP + 9] == ICMP && frame.get(l4).copied().is_some_and(is_error) && frame.len() >= l4 + 8 {
        rename(&mut frame, l4 + 8, host, naming, Some(l4 + 2));
    }
    frame
}

/// Whether the host made this frame as an answer to `input`, and has not just passed it on.
pub(crate) fn is_answer(input: &[u8], output: &[u8]) -> bool {
    let kind = |frame: &[u8]| match (frame.get(IP + 9), header_length(frame, IP)) {
        (Some(&ICMP), Some(length)) => frame.get(IP + length).copied(),
        _ => None,
    };
    let resets = |frame: &[u8]| match (frame.get(IP + 9), header_length(frame, IP)) {
        (Some(&TCP), Some(length)) => frame.get(IP + length + 13).is_some_and(|flags| flags & RST != 0),
        _ => false,
    };
    match kind(output) {
        Some(0) => kind(input) == Some(8),
        Some(found) if is_error(found) => !kind(input).is_some_and(is_error),
        Some(_) => false,
        None => resets(output) && !resets(input),
    }
}

/// Renames the port beside the host's address in the packet at `ip`, and keeps its checksum as right or as wrong as it was;
/// `around` is the checksum of the error that quotes it.
fn rename(frame: &mut [u8], ip: usize, host: Ipv4Addr, naming: Naming, around: Option<usize>) {
    let Some(tuple) = frame::tuple_at(frame, ip) else { return };
    let Some(l4) = header_length(frame, ip).map(|length| ip + length) else { return };
    let echo = tuple.proto == ICMP;
    let (src, dst) = (tuple.src, tuple.dst);
    // The one identifier of an echo is its client's, whoever sends it.
    let ends = if echo {
        [(src.0, src.1.max(dst.1), 4), (dst.0, src.1.max(dst.1), 4)]
    } else {
        [(src.0, src.1, 0), (dst.0, dst.1, 2)]
    };
    let Some(end) = ends.iter().find(|(address, port, _)| *address == host && *port == naming.chosen) else {
        return;
    };
    let at = l4 + end.2;
    let check = check_at(tuple.proto).map(|at| l4 + at).filter(|at| at + 2 <= frame.len());
    let is_summed = |at: &usize| tuple.proto != UDP || get16(frame, *at) != Some(0);
    let sums: Vec<usize> = check.filter(is_summed).into_iter().chain(around).collect();
    replace(frame, at, naming.name, &sums);
}

/// Changes a word, the first of these sums that it is part of, and the others that both are part of.
fn replace(frame: &mut [u8], at: usize, to: u16, sums: &[usize]) {
    let Some(from) = get16(frame, at) else { return };
    put16(frame, at, to);
    for (n, sum) in sums.iter().enumerate() {
        let Some(old) = get16(frame, *sum) else { continue };
        replace(frame, *sum, updated(old, from, to), &sums[n + 1..]);
    }
}

/// RFC 1624, equation 3; both forms of zero become one.
fn updated(check: u16, from: u16, to: u16) -> u16 {
    let mut sum = u32::from(!check) + u32::from(!from) + u32::from(to);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !u16::try_from(sum).unwrap() {
        0 => 0xffff,
        check => check,
    }
}

/// The address of the sender in the header.
pub(crate) fn source(frame: &[u8]) -> Option<Ipv4Addr> {
    frame::is_ipv4(frame).then(|| address(frame, IP + 12))
}
