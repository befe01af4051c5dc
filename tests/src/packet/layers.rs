//! Takes a frame apart into named fields, and prints the fields in which two frames differ.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::{ICMP, TCP, UDP};

/// One header with its fields as text, or the bytes behind the last header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// `eth`, `arp`, `ip`, `tcp`, `udp`, `icmp` or `payload`.
    pub name: &'static str,
    /// Field names and values in the order of the header.
    pub fields: Vec<(&'static str, String)>,
}

/// The layers of a frame, as far as it goes; what is cut off ends up in `payload`.
pub fn layers(frame: &[u8]) -> Vec<Layer> {
    let Some((header, rest)) = frame.split_at_checked(14) else { return vec![payload(frame)] };
    let kind = be16(header, 12);
    let eth = Layer {
        name: "eth",
        fields: vec![
            ("to", mac(&header[..6])),
            ("from", mac(&header[6..12])),
            ("type", format!("{kind:04x}")),
        ],
    };
    let mut all = vec![eth];
    match kind {
        0x0800 => all.extend(ip(rest)),
        0x0806 => all.extend(arp(rest)),
        _ => all.push(payload(rest)),
    }
    all
}

/// The fields in which the frames differ, one per line, expected before actual; `None` when they are equal.
pub fn difference(expected: &[u8], actual: &[u8]) -> Option<String> {
    if expected == actual {
        return None;
    }
    let (wanted, found) = (layers(expected), layers(actual));
    let mut text = String::new();
    for (want, have) in wanted.iter().zip(&found) {
        if want.name != have.name {
            let _ = writeln!(text, "layer {}, got {}", want.name, have.name);
        }
        for ((name, left), (_, right)) in want.fields.iter().zip(&have.fields).filter(|(l, r)| l.1 != r.1) {
            let _ = writeln!(text, "{}.{name}: {left}, got {right}", want.name);
        }
    }
    let _ = writeln!(text, "expected {} bytes: {expected:02x?}", expected.len());
    let _ = writeln!(text, "got      {} bytes: {actual:02x?}", actual.len());
    Some(text)
}

fn ip(bytes: &[u8]) -> Vec<Layer> {
    let length = usize::from(bytes.first().map_or(0, |first| first & 0x0f)) * 4;
    let Some((header, rest)) = bytes.split_at_checked(length.max(20)) else { return vec![payload(bytes)] };
    let fields = vec![
        ("version", (header[0] >> 4).to_string()),
        ("header words", (header[0] & 0x0f).to_string()),
        ("total length", be16(header, 2).to_string()),
        ("id", format!("{:04x}", be16(header, 4))),
        ("fragment", format!("{:04x}", be16(header, 6))),
        ("ttl", header[8].to_string()),
        ("protocol", header[9].to_string()),
        ("checksum", format!("{:04x}", be16(header, 10))),
        ("src", address(header, 12)),
        ("dst", address(header, 16)),
        ("options", format!("{:02x?}", &header[20..])),
    ];
    let ip = Layer { name: "ip", fields };
    let is_later_fragment = be16(header, 6) & 0x1fff != 0;
    let protocol = if is_later_fragment { 0 } else { header[9] };
    [vec![ip], transport(protocol, rest)].concat()
}

fn transport(protocol: u8, bytes: &[u8]) -> Vec<Layer> {
    let (name, length) = match protocol {
        TCP => ("tcp", 20),
        UDP => ("udp", 8),
        ICMP => ("icmp", 8),
        _ => return vec![payload(bytes)],
    };
    let Some((header, rest)) = bytes.split_at_checked(length) else { return vec![payload(bytes)] };
    let number = |at| be16(header, at).to_string();
    let hex = |at| format!("{:04x}", be16(header, at));
    let fields = match protocol {
        TCP => vec![
            ("sport", number(0)),
            ("dport", number(2)),
            ("seq", format!("{:02x?}", &header[4..8])),
            ("ack", format!("{:02x?}", &header[8..12])),
            ("flags", format!("{:02x}", header[13])),
            ("window", number(14)),
            ("checksum", hex(16)),
        ],
        UDP => vec![("sport", number(0)), ("dport", number(2)), ("length", number(4)), ("checksum", hex(6))],
        _ => vec![("type", hex(0)), ("checksum", hex(2)), ("id", number(4)), ("seq", number(6))],
    };
    vec![Layer { name, fields }, payload(rest)]
}

fn arp(bytes: &[u8]) -> Vec<Layer> {
    let Some((header, rest)) = bytes.split_at_checked(28) else { return vec![payload(bytes)] };
    let fields = vec![
        ("operation", be16(header, 6).to_string()),
        ("sender mac", mac(&header[8..14])),
        ("sender", address(header, 14)),
        ("target mac", mac(&header[18..24])),
        ("target", address(header, 24)),
    ];
    vec![Layer { name: "arp", fields }, payload(rest)]
}

fn payload(bytes: &[u8]) -> Layer {
    Layer { name: "payload", fields: vec![("bytes", format!("{bytes:02x?}"))] }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn address(bytes: &[u8], at: usize) -> String {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]).to_string()
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
