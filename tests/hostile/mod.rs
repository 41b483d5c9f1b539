//! Hostile media: small real files of every container that is taken, changed by a seed, and files crafted to hurt.
//!
//! Guarantee: a case is a function of (seed, number) and of the base files alone, so a finding can be made again from
//! its name. Nothing but the standard library and the `ffmpeg` command line is used, so any crate's tests may include it.

pub mod bases;
pub mod crafted;
pub mod mutate;
pub mod references;

use std::path::Path;

use bases::Base;

/// One input.
pub struct Case {
    /// What was done to what, for people: `seed/number what`.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Everything that cases are made of.
pub struct Corpus {
    bases: Vec<Base>,
    crafted: Vec<Case>,
}

/// No case is larger: the point is what a few bytes can do.
const LARGEST: usize = 6 << 20;

impl Corpus {
    /// Makes the base files in `folder`, unless they are there.
    pub fn make(folder: &Path) -> Self {
        let bases = bases::make(folder);
        let mut crafted = crafted::all(&bases, folder);
        crafted.extend(references::all(&bases, "/etc/passwd", "http://127.0.0.1:9/x.ts"));
        Self { bases, crafted }
    }

    /// How many cases are crafted; they are the first ones.
    pub fn crafted(&self) -> u64 {
        self.crafted.len() as u64
    }

    /// Case number `n` of a seed: the crafted ones first as they are, then mutations, mostly of real files.
    pub fn case(&self, seed: u64, n: u64) -> Case {
        if let Some(case) = usize::try_from(n).ok().and_then(|n| self.crafted.get(n)) {
            return Case { name: format!("{seed}/{n} {}", case.name), bytes: case.bytes.clone() };
        }
        let mut dice = Dice::new(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut what, mut bytes) = if dice.one_in(8) {
            let case = dice.of(&self.crafted);
            (case.name.clone(), case.bytes.clone())
        } else {
            let base = dice.of(&self.bases);
            (base.name.to_owned(), base.bytes.clone())
        };
        for _ in 0..1 + dice.below(3) {
            let other = &dice.of(&self.bases).bytes;
            what.push_str(mutate::once(&mut bytes, other, &mut dice));
        }
        bytes.truncate(LARGEST);
        Case { name: format!("{seed}/{n} {what}"), bytes }
    }
}

/// A repeatable source of chance (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 up to `n`, which it is not; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
