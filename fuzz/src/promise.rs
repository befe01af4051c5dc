//! What must hold of every frame, whatever was in it. Sums are made in full here, by code that the programs do not share.

const IP: usize = 14;

/// Nothing is changed before it is decided that it will be.
pub(crate) fn untouched(before: &[u8], after: &[u8]) {
    assert!(before == after, "changed, but not translated");
}

/// A translated frame has the length that it had, and every checksum that was right still is.
pub(crate) fn translated(before: &[u8], after: &[u8], l4: u32) {
    assert_eq!(before.len(), after.len(), "the length has changed");
    let l4 = l4 as usize;
    let hops = if is_v4(before) { header4(before, after, l4) } else { header6(before, after, l4) };
    if let Some((end, proto)) = datagram(before, l4) {
        let right = |frame: &[u8]| transport_is_right(frame, proto, l4, end);
        assert!(!right(before) || right(after), "the transport checksum has become wrong");
    }
    let ttl = i16::from(before[hops]) - i16::from(after[hops]);
    assert!(ttl <= 1 || before[hops] == 0, "more than one hop");
}

fn is_v4(frame: &[u8]) -> bool {
    frame[IP] >> 4 == 4
}

/// Looks at what no router changes of an IPv4 header, and says where its time to live stands.
fn header4(before: &[u8], after: &[u8], l4: usize) -> usize {
    assert_eq!(sum(&before[IP..l4]), 0xffff, "a header with a wrong checksum was translated");
    assert_eq!(sum(&after[IP..l4]), 0xffff, "the IP header's checksum has become wrong");
    assert_eq!(before[12..IP + 8], after[12..IP + 8], "what no router changes has changed");
    assert_eq!(before[IP + 9], after[IP + 9], "the protocol has changed");
    assert_eq!(before[IP + 20..l4], after[IP + 20..l4], "the options have changed");
    IP + 8
}

/// The same of IPv6.
fn header6(before: &[u8], after: &[u8], l4: usize) -> usize {
    assert_eq!(before[12..IP + 7], after[12..IP + 7], "what no router changes has changed");
    assert_eq!(before[IP + 40..l4], after[IP + 40..l4], "the extension headers have changed");
    IP + 7
}

/// Where the datagram ends, and its protocol, when all of it is there in one piece.
fn datagram(frame: &[u8], l4: usize) -> Option<(usize, u8)> {
    let length = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    if !is_v4(frame) {
        let end = IP + 40 + length(IP + 4);
        // Behind extension headers the protocol stands in the last of them.
        return (l4 == IP + 40 && (l4..=frame.len()).contains(&end)).then_some((end, frame[IP + 6]));
    }
    let end = IP + length(IP + 2);
    // The two upper bits are no part of it: reserved, and "don't fragment".
    let in_one_piece = frame[IP + 6] << 2 == 0 && frame[IP + 7] == 0;
    (in_one_piece && (l4..=frame.len()).contains(&end)).then_some((end, frame[IP + 9]))
}

fn transport_is_right(frame: &[u8], proto: u8, l4: usize, end: usize) -> bool {
    let segment = &frame[l4..end];
    let at = match proto {
        1 => return segment.len() >= 8 && sum(segment) == 0xffff,
        6 => 16,
        17 | 136 => 6,
        58 => 2,
        _ => return true,
    };
    let no_sum = proto == 17 && segment.get(at..at + 2) == Some(&[0, 0]);
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    let addresses = if is_v4(frame) { IP + 12..IP + 20 } else { IP + 8..IP + 40 };
    let mut pseudo = frame[addresses].to_vec();
    pseudo.extend([0, proto]);
    pseudo.extend(length.to_be_bytes());
    pseudo.extend(segment);
    no_sum || (segment.len() >= at + 2 && sum(&pseudo) == 0xffff)
}

/// Ones' complement sum of big-endian words, an odd last byte padded with zero (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let mut total: u32 = 0;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}
