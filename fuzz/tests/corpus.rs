//! What the fuzzer has found worth keeping, once more, whole and cut off at each byte.

use std::fs;
use std::path::Path;

#[test]
fn every_input_of_the_corpus_keeps_the_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for end in 0..=bytes.len() {
            fuzz::run(&bytes[..end]);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus is not there");
}
