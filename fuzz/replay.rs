//! The fuzz targets as ordinary tests: over the committed seeds, and over a few thousand changed copies of each.
//!
//! Guarantee: what a fuzzer has found stays found: its input is put into `seeds/<target>/` and runs with every test. The
//! changes are the same on each machine and at each run.

/// Copies of each seed.
const COPIES: u64 = 1_000;

/// Runs one target over its seeds; a panic names the input.
pub fn seeds(target: &str, check: fn(&[u8])) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.ancestors().map(|a| a.join("fuzz/seeds").join(target)).find(|f| f.is_dir());
    let folder = folder.unwrap_or_else(|| panic!("no seeds of {target}"));
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let seed = std::fs::read(&file).unwrap();
        tried(target, check, &seed, &file.display().to_string());
        seeds.push(seed);
    }
    assert!(!seeds.is_empty(), "{target} has no seeds");
    for (number, seed) in (0u64..).zip(&seeds) {
        let mut chance = Chance(number.wrapping_mul(COPIES).wrapping_add(1));
        for copy in 0..COPIES {
            let mut bytes = seed.clone();
            for _ in 0..1 + chance.below(4) {
                change(&mut bytes, &seeds, &mut chance);
            }
            tried(target, check, &bytes, &format!("copy {copy} of seed {number}"));
        }
    }
    for bytes in [&b""[..], &[0], &[0xff; 64], b"null", b"{}", b"[]", b"\"\\ud800\""] {
        tried(target, check, bytes, "an odd input");
    }
}

fn tried(target: &str, check: fn(&[u8]), bytes: &[u8], name: &str) {
    if std::panic::catch_unwind(|| check(bytes)).is_err() {
        panic!("{target}: {name}: {:?}", String::from_utf8_lossy(bytes));
    }
}

fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], chance: &mut Chance) {
    const WORDS: [&[u8]; 12] =
        [b"\"", b"{", b"}", b"%", b"%ff", b"\0", b"-1", b"99999999999999999999", b"1e999", b"\\u0000", b"=", b";"];
    let at = chance.below(bytes.len() + 1);
    match chance.below(6) {
        0 if !bytes.is_empty() => {
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1 << chance.below(8);
        }
        1 => bytes.truncate(at),
        2 => {
            let end = (at + 1 + chance.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        3 => {
            let word = WORDS[chance.below(WORDS.len())];
            bytes.splice(at..at, word.iter().copied());
        }
        4 => {
            let end = (at + chance.below(64)).min(bytes.len());
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        _ => {
            let other = &others[chance.below(others.len())];
            let from = chance.below(other.len() + 1);
            let end = (from + chance.below(64)).min(other.len());
            bytes.splice(at..at, other[from..end].iter().copied());
        }
    }
}

/// A repeatable source of chance (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}
