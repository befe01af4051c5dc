//! A whole hash table in few calls, which aya does not offer: one call per entry would take a second for a full flow table.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd};

use aya::Pod;
use aya_obj::generated::{bpf_attr, bpf_cmd};

use super::link::bpf;

/// Entries per call. A bucket comes whole or not at all, and none is nearly as large as this.
const BATCH: usize = 4096;

/// Every entry of a hash table whose keys and values have these types. Unlike a walk from key to key it meets each
/// entry that is there all the time exactly once, whatever is deleted meanwhile.
///
/// The caller has made sure that the sizes of the types are those of the map.
pub(super) fn entries<K: Pod, V: Pod>(map: &OwnedFd) -> io::Result<Vec<(K, V)>> {
    let (mut keys, mut values) = (Vec::<K>::with_capacity(BATCH), Vec::<V>::with_capacity(BATCH));
    let mut all = Vec::new();
    let mut next: Option<u32> = None;
    loop {
        let mut after = 0_u32;
        // SAFETY: all-zero is a valid `bpf_attr`, a union of structs of integers.
        let mut attr: bpf_attr = unsafe { zeroed() };
        attr.batch.map_fd = map.as_raw_fd().cast_unsigned();
        attr.batch.in_batch = next.as_ref().map_or(0, |bucket| std::ptr::from_ref(bucket) as u64);
        attr.batch.out_batch = std::ptr::from_mut(&mut after) as u64;
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        attr.batch.count = u32::try_from(BATCH).map_err(io::Error::other)?;
        let ended = match bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) {
            Ok(_) => false,
            // No bucket follows; what it has found on the way there counts.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        // SAFETY: this is the member that was filled above, and the kernel has written the number of entries to it.
        let count = unsafe { attr.batch.count } as usize;
        // SAFETY: the kernel has written that many whole keys and values, at most `BATCH`, to the start of the two
        // vectors; a `Pod` is any pattern of bytes.
        unsafe {
            keys.set_len(count.min(BATCH));
            values.set_len(count.min(BATCH));
        }
        all.extend(keys.drain(..).zip(values.drain(..)));
        if ended {
            return Ok(all);
        }
        next = Some(after);
    }
}

/// Writes entries to a hash table, whether they are there or not.
///
/// The caller has made sure that the sizes of the types are those of the map.
pub(super) fn update<K: Pod, V: Pod>(map: &OwnedFd, keys: &[K], values: &[V]) -> io::Result<()> {
    let mut done = 0;
    while let (Some(keys @ [_, ..]), Some(values)) = (keys.get(done..), values.get(done..)) {
        // SAFETY: all-zero is a valid `bpf_attr`, a union of structs of integers.
        let mut attr: bpf_attr = unsafe { zeroed() };
        attr.batch.map_fd = map.as_raw_fd().cast_unsigned();
        attr.batch.keys = keys.as_ptr() as u64;
        attr.batch.values = values.as_ptr() as u64;
        attr.batch.count =
            u32::try_from(keys.len().min(values.len()).min(BATCH)).map_err(io::Error::other)?;
        bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr)?;
        // SAFETY: this is the member that was filled above, and the kernel has written the number of entries to it.
        match unsafe { attr.batch.count } {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => done += count as usize,
        }
    }
    Ok(())
}
