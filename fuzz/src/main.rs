//! The fuzzer: libFuzzer's loop around [`fuzz::run`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::run(data));
