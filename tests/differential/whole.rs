//! A datagram out of its fragments.

use crate::frame::{IP, MORE_FRAGMENTS, get16, header_length, put16};

/// Bits of the offset, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

/// Headers, without what differs from fragment to fragment, and payload of the one datagram that these frames are the
/// fragments of, in any order; nothing when they are not all of one.
pub(crate) fn whole<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut parts = frames.map(part).collect::<Option<Vec<_>>>()?;
    parts.sort_by_key(|part| part.offset);
    let (last, before) = parts.split_last()?;
    let mut whole = last.header.clone();
    for part in &parts {
        let is_next = part.offset == whole.len() - last.header.len();
        if !is_next || part.header != last.header {
            return None;
        }
        whole.extend(part.payload);
    }
    (!last.has_more && before.iter().all(|part| part.has_more)).then_some(whole)
}

struct Part<'a> {
    header: Vec<u8>,
    offset: usize,
    has_more: bool,
    payload: &'a [u8],
}

fn part(frame: &[u8]) -> Option<Part<'_>> {
    let end = IP + header_length(frame, IP)?;
    let (header, payload) = frame.split_at_checked(end)?;
    let field = get16(frame, IP + 6)?;
    let mut header = header.to_vec();
    for differs in [IP + 2, IP + 6, IP + 10] {
        put16(&mut header, differs, 0);
    }
    let offset = usize::from(field & OFFSET) * 8;
    Some(Part { header, offset, has_more: field & MORE_FRAGMENTS != 0, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(offset: u16, has_more: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = [&[0; 12][..], &[8, 0, 0x45], &[0; 19], payload].concat();
        put16(&mut frame, IP + 6, offset | if has_more { MORE_FRAGMENTS } else { 0 });
        frame
    }

    fn of(frames: &[Vec<u8>]) -> Option<Vec<u8>> {
        whole(frames.iter().map(Vec::as_slice))
    }

    #[test]
    fn two_ways_to_cut_are_one_datagram_and_what_lacks_a_part_is_none() {
        let coarse = [fragment(0, true, &[1; 16]), fragment(2, false, &[1; 5])];
        let fine = [fragment(1, true, &[1; 8]), fragment(0, true, &[1; 8]), fragment(2, false, &[1; 5])];
        assert!(of(&coarse).is_some() && of(&coarse) == of(&fine));
        assert!(of(&coarse[..1]).is_none() && of(&coarse[1..]).is_none() && of(&fine[1..]).is_none());
        assert_ne!(of(&coarse), of(&[fragment(0, false, &[2; 21])]));
    }
}
