//! What the programs' files name of the kernel's interface.

/// The context of a program, with the fields that are read (`struct __sk_buff` of `linux/bpf.h`).
#[derive(Debug)]
#[repr(C)]
pub struct __sk_buff {
    /// Bytes of the frame.
    pub len: u32,
    /// `PACKET_HOST` and its like.
    pub pkt_type: u32,
    /// Non-zero with a VLAN tag beside the bytes.
    pub vlan_present: u32,
    /// That tag: its priority and its VLAN (IEEE 802.1Q), in host order.
    pub vlan_tci: u32,
    /// Where it came in; zero for what the host itself made.
    pub ingress_ifindex: u32,
    /// The hook's interface.
    pub ifindex: u32,
    /// Free for programs.
    pub tc_index: u32,
    /// Address of the first readable byte.
    pub data: u32,
    /// Address behind the last.
    pub data_end: u32,
    /// Segments of a GSO frame.
    pub gso_segs: u32,
    /// Their payload's size.
    pub gso_size: u32,
}

/// Flag of `bpf_l4_csum_replace`: the sum covers a pseudo-header.
pub const BPF_F_PSEUDO_HDR: u32 = 1 << 4;
/// Flag of `bpf_l4_csum_replace`: zero means that there is no sum.
pub const BPF_F_MARK_MANGLED_0: u32 = 1 << 5;
