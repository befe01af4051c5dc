//! What `cargo xtask bench --micro` measures the kernel's helpers by: each is called once by one program and seventeen times
//! by another one, and what the two differ by are sixteen calls and nothing else.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel {
    use core::ffi::c_void;
    use core::ptr::{from_mut, null_mut};

    use aya_ebpf::Global;
    use aya_ebpf::bindings::{
        __sk_buff, TC_ACT_REDIRECT, bpf_fib_lookup as FibLookup, bpf_redir_neigh as NextHop,
        bpf_redir_neigh__bindgen_ty_1 as NextHopAddr, bpf_sock_tuple as SockTuple,
    };
    use aya_ebpf::helpers::generated::{
        bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_skc_lookup_tcp,
    };
    use aya_ebpf::helpers::{
        bpf_fib_lookup, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_loop, bpf_redirect, bpf_redirect_neigh,
        bpf_redirect_peer, bpf_sk_release, bpf_skb_change_type, bpf_skb_load_bytes, bpf_skb_store_bytes,
    };
    use aya_ebpf::macros::{classifier, map};
    use aya_ebpf::maps::lpm_trie::Key;
    use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray};
    use aya_ebpf::programs::TcContext;

    /// Not preallocated: as the controller's maps are.
    const BPF_F_NO_PREALLOC: u32 = 1;
    /// What a value is: as large as that of a flow.
    type Value = [u64; 11];
    type Key4 = u32;
    type Key20 = [u32; 5];
    type Key40 = [u32; 10];

    // How many entries they have, and so how many are walked over, is set at load.
    #[map]
    static HASH4: HashMap<Key4, Value> = HashMap::with_max_entries(1, 0);
    #[map]
    static HASH20: HashMap<Key20, Value> = HashMap::with_max_entries(1, 0);
    #[map]
    static HASH40: HashMap<Key40, Value> = HashMap::with_max_entries(1, 0);
    #[map]
    static LRU40: LruHashMap<Key40, Value> = LruHashMap::with_max_entries(1, 0);
    #[map]
    static TRIE: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);
    #[map]
    static ROWS: Array<u64> = Array::with_max_entries(1, 0);
    #[map]
    static ROWS_PER_CPU: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
    /// Where the walk over the keys has got to.
    #[map]
    static AT: Array<u32> = Array::with_max_entries(1, 0);

    /// Entries of the maps less one: a mask. And whether there are any.
    #[unsafe(no_mangle)]
    static MASK: Global<u32> = Global::new(0);
    #[unsafe(no_mangle)]
    static FOUND: Global<u32> = Global::new(1);
    /// The interfaces of a container, of its network and of the outside.
    #[unsafe(no_mangle)]
    static CONTAINER: Global<u32> = Global::new(0);
    #[unsafe(no_mangle)]
    static BRIDGE: Global<u32> = Global::new(0);
    #[unsafe(no_mangle)]
    static UPLINK: Global<u32> = Global::new(0);

    /// What is handed to the helpers: one for all calls, or the stack would not do.
    struct Hands {
        at: u32,
        key: Key40,
        value: Value,
        fib: FibLookup,
        hop: NextHop,
        bytes: [u8; 40],
    }

    impl Hands {
        #[inline(always)]
        fn new() -> Self {
            let hop = NextHop { nh_family: 2, __bindgen_anon_1: NextHopAddr { ipv4_nh: GATEWAY.to_be() } };
            // SAFETY: all-zero is a valid value of this struct of integers and unions of integers.
            let fib = unsafe { core::mem::zeroed() };
            let at = AT.get(0).copied().unwrap_or(0);
            Self { at, key: [0; 10], value: [0; 11], fib, hop, bytes: [0; 40] }
        }

        /// The next key of the walk: each time another one, far from the one before.
        #[inline(always)]
        fn step(&mut self) -> u32 {
            self.at = self.at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.at >> 8) & MASK.load()
        }

        #[inline(always)]
        fn key40(&mut self) -> &Key40 {
            self.key[0] = self.step();
            &self.key
        }

        #[inline(always)]
        fn end(&self, is_right: bool) -> i32 {
            if let Some(at) = AT.get_ptr_mut(0) {
                // SAFETY: the map's value; no two runs of a bench are at the same time.
                unsafe { *at = self.at };
            }
            if is_right { -1 } else { 2 }
        }

        #[inline(always)]
        fn fib4(&mut self, ctx: *mut __sk_buff, dst: u32, flags: u32) -> i64 {
            self.fib.family = 2;
            self.fib.__bindgen_anon_3.ipv4_src = CONTAINER4.to_be();
            self.fib.__bindgen_anon_4.ipv4_dst = dst.to_be();
            self.look_up(ctx, flags)
        }

        #[inline(always)]
        fn fib6(&mut self, ctx: *mut __sk_buff, dst: [u32; 4], flags: u32) -> i64 {
            self.fib.family = 10;
            self.fib.__bindgen_anon_3.ipv6_src = CONTAINER6.map(u32::to_be);
            self.fib.__bindgen_anon_4.ipv6_dst = dst.map(u32::to_be);
            self.look_up(ctx, flags)
        }

        #[inline(always)]
        fn look_up(&mut self, ctx: *mut __sk_buff, flags: u32) -> i64 {
            self.fib.l4_protocol = 6;
            self.fib.ifindex = BRIDGE.load();
            self.fib.__bindgen_anon_1.tot_len = 100;
            // SAFETY: the helper reads and writes the struct within the size given.
            unsafe { bpf_fib_lookup(ctx.cast(), &raw mut self.fib, size_of::<FibLookup>() as i32, flags) }
        }
    }

    /// Addresses of the machine of `tests/src/program.rs`: its router outside, a neighbour of that which nobody has spoken to, a
    /// container, and somebody beyond.
    const GATEWAY: u32 = 0xcb00_7101;
    const STRANGER: u32 = 0xcb00_714d;
    const CONTAINER4: u32 = 0xac11_0002;
    const CONTAINER6: [u32; 4] = [0x2001_0db8, 0x0017_0000, 0, 2];
    const REMOTE4: u32 = 0xc633_6407;
    const REMOTE6: [u32; 4] = [0x2001_0db8, 0x0007_0000, 0, 7];
    /// Of `bpf_fib_lookup`.
    const SKIP_NEIGH: u32 = 1 << 3;
    const SRC: u32 = 1 << 4;
    const NO_NEIGH: i64 = 7;
    const REDIRECT: i64 = TC_ACT_REDIRECT as i64;
    /// Where things are in a frame of TCP over IPv4, and what `bpf_l4_csum_replace` is told.
    const ADDRESSES: u32 = 26;
    const IP_CHECK: u32 = 24;
    const TCP_CHECK: u32 = 50;
    const PSEUDO_HEADER: u64 = 0x10;

    // Not all at once: the verifier would walk through each call's outcomes with all outcomes of the others.
    macro_rules! seventeen_times {
        ($call:expr) => {
            $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
                && $call
        };
    }

    /// Two programs per call, which is as it should be when it is true.
    macro_rules! alone {
        ($($once:ident $often:ident |$ctx:ident, $hands:ident| $call:expr;)+) => { $(
            #[classifier]
            pub(crate) fn $once(ctx: TcContext) -> i32 {
                let ($ctx, mut hands) = (ctx.skb.skb, Hands::new());
                let $hands = &mut hands;
                let is_right = $call;
                let _ = $ctx;
                hands.end(is_right)
            }

            #[classifier]
            pub(crate) fn $often(ctx: TcContext) -> i32 {
                let ($ctx, mut hands) = (ctx.skb.skb, Hands::new());
                let $hands = &mut hands;
                let is_right = seventeen_times!($call);
                let _ = $ctx;
                hands.end(is_right)
            }
        )+ };
    }

    alone! {
        redirect_1 redirect_17 |ctx, hands| redirect(hands);
        redirect_peer_1 redirect_peer_17 |ctx, hands| redirect_peer(hands);
        neigh_1 neigh_17 |ctx, hands| redirect_neigh(hands, false);
        neigh_hop_1 neigh_hop_17 |ctx, hands| redirect_neigh(hands, true);
        fib4_1 fib4_17 |ctx, hands| hands.fib4(ctx, REMOTE4, 0) == 0;
        fib4_src_1 fib4_src_17 |ctx, hands| hands.fib4(ctx, REMOTE4, SRC) == 0;
        fib4_skip_1 fib4_skip_17 |ctx, hands| hands.fib4(ctx, REMOTE4, SKIP_NEIGH) == 0;
        fib4_none_1 fib4_none_17 |ctx, hands| hands.fib4(ctx, STRANGER, 0) == NO_NEIGH;
        fib6_1 fib6_17 |ctx, hands| hands.fib6(ctx, REMOTE6, 0) == 0;
        fib6_skip_1 fib6_skip_17 |ctx, hands| hands.fib6(ctx, REMOTE6, SKIP_NEIGH) == 0;
        l3_csum_1 l3_csum_17 |ctx, hands| l3_csum(ctx, hands);
        l4_csum_1 l4_csum_17 |ctx, hands| l4_csum(ctx, hands, 2);
        l4_pseudo_1 l4_pseudo_17 |ctx, hands| l4_csum(ctx, hands, PSEUDO_HEADER);
        store2_1 store2_17 |ctx, hands| store(ctx, hands, 2);
        store12_1 store12_17 |ctx, hands| store(ctx, hands, 12);
        store40_1 store40_17 |ctx, hands| store(ctx, hands, 40);
        load8_1 load8_17 |ctx, hands| load(ctx, hands, 8);
        load40_1 load40_17 |ctx, hands| load(ctx, hands, 40);
        type_1 type_17 |ctx, hands| change_type(ctx, hands);
        coarse_1 coarse_17 |ctx, hands| coarse(hands);
        fine_1 fine_17 |ctx, hands| fine(hands);
        random_1 random_17 |ctx, hands| random(hands);
        loop1_1 loop1_17 |ctx, hands| turns(hands, 1);
        loop8_1 loop8_17 |ctx, hands| turns(hands, 8);
        sock_1 sock_17 |ctx, hands| socket(ctx, hands);
        rows_1 rows_17 |ctx, hands| hands.step() == 0 && ROWS.get_ptr(0).is_some();
        per_cpu_1 per_cpu_17 |ctx, hands| hands.step() == 0 && ROWS_PER_CPU.get_ptr(0).is_some();
        step_1 step_17 |ctx, hands| hands.step() <= MASK.load();
        hash4_1 hash4_17 |ctx, hands| hash4(hands);
        hash20_1 hash20_17 |ctx, hands| hash20(hands);
        hash40_1 hash40_17 |ctx, hands| HASH40.get_ptr(hands.key40()).is_some();
        lru40_1 lru40_17 |ctx, hands| LRU40.get_ptr(hands.key40()).is_some();
        trie_1 trie_17 |ctx, hands| trie(hands);
        update40_1 update40_17 |ctx, hands| update(hands);
    }

    #[inline(always)]
    fn redirect(_: &Hands) -> bool {
        // SAFETY: the helper takes numbers.
        unsafe { bpf_redirect(UPLINK.load(), 0) == REDIRECT }
    }

    #[inline(always)]
    fn redirect_peer(_: &Hands) -> bool {
        // SAFETY: the helper takes numbers.
        unsafe { bpf_redirect_peer(CONTAINER.load(), 0) == REDIRECT }
    }

    #[inline(always)]
    fn redirect_neigh(hands: &mut Hands, has_hop: bool) -> bool {
        let (hop, size) =
            if has_hop { (from_mut(&mut hands.hop), size_of::<NextHop>() as i32) } else { (null_mut(), 0) };
        // SAFETY: the helper reads the struct within the size given; null and zero mean "no next hop given".
        unsafe { bpf_redirect_neigh(UPLINK.load(), hop, size, 0) == REDIRECT }
    }

    #[inline(always)]
    fn l3_csum(ctx: *mut __sk_buff, _: &Hands) -> bool {
        // SAFETY: the helper checks offset and context itself.
        unsafe { bpf_l3_csum_replace(ctx, IP_CHECK, 1, 2, 4) == 0 }
    }

    #[inline(always)]
    fn l4_csum(ctx: *mut __sk_buff, _: &Hands, flags: u64) -> bool {
        // SAFETY: the helper checks offset and context itself. With a size of zero the difference is in `to`.
        unsafe { bpf_l4_csum_replace(ctx, TCP_CHECK, 0, 2, flags) == 0 }
    }

    #[inline(always)]
    fn store(ctx: *mut __sk_buff, hands: &Hands, len: u32) -> bool {
        // SAFETY: the helper reads as many bytes as are given, of which there are enough, and checks the frame itself.
        unsafe { bpf_skb_store_bytes(ctx, ADDRESSES, hands.bytes.as_ptr().cast(), len, 0) == 0 }
    }

    #[inline(always)]
    fn load(ctx: *mut __sk_buff, hands: &mut Hands, len: u32) -> bool {
        // SAFETY: the helper writes as many bytes as are given, for which there is room, and checks the frame itself.
        unsafe { bpf_skb_load_bytes(ctx.cast(), ADDRESSES, hands.bytes.as_mut_ptr().cast(), len) == 0 }
    }

    #[inline(always)]
    fn change_type(ctx: *mut __sk_buff, _: &Hands) -> bool {
        // SAFETY: the helper takes the context as it is.
        unsafe { bpf_skb_change_type(ctx, 3) == 0 }
    }

    #[inline(always)]
    fn coarse(_: &Hands) -> bool {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_ktime_get_coarse_ns() != 0 }
    }

    #[inline(always)]
    fn fine(_: &Hands) -> bool {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_ktime_get_ns() != 0 }
    }

    #[inline(always)]
    fn random(hands: &mut Hands) -> bool {
        // SAFETY: the helper takes nothing.
        hands.value[0] ^= u64::from(unsafe { bpf_get_prandom_u32() });
        true
    }

    #[inline(always)]
    fn turns(_: &Hands, turns: u32) -> bool {
        // SAFETY: the callback has the signature that the helper calls, and takes no context.
        unsafe { bpf_loop(turns, turn as *mut c_void, null_mut(), 0) == i64::from(turns) }
    }

    unsafe extern "C" fn turn(_: u32, _context: *mut c_void) -> i64 {
        0
    }

    #[inline(always)]
    fn socket(ctx: *mut __sk_buff, hands: &mut Hands) -> bool {
        let tuple: *mut SockTuple = hands.bytes.as_mut_ptr().cast();
        // SAFETY: the helper reads the tuple of IPv4, within the size given. What it gives is given back.
        unsafe {
            let found = bpf_skc_lookup_tcp(ctx.cast(), tuple, 12, u64::MAX, 0);
            if found.is_null() {
                return true;
            }
            bpf_sk_release(found.cast());
        }
        false
    }

    #[inline(always)]
    fn hash4(hands: &mut Hands) -> bool {
        let key = hands.step();
        HASH4.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn hash20(hands: &mut Hands) -> bool {
        hands.key[0] = hands.step();
        let key: *const Key20 = hands.key.as_ptr().cast();
        // SAFETY: the first half of the key that there is.
        HASH20.get_ptr(unsafe { &*key }).is_some()
    }

    #[inline(always)]
    fn trie(hands: &mut Hands) -> bool {
        let key = Key::new(128, [0xb80d_0120, hands.step(), 0, 7]);
        TRIE.get(key).is_some() == (FOUND.load() != 0)
    }

    #[inline(always)]
    fn update(hands: &mut Hands) -> bool {
        hands.key[0] = hands.step();
        HASH40.insert(&hands.key, &hands.value, 0).is_ok()
    }

    /// Never reached: nothing here panics.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
