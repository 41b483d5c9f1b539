//! Random numbers that are the same for a seed on every machine and with every version of every crate.
//!
//! Source: Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (SplitMix64).

/// A generator of one seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1, never 0.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// The time to the next of things that happen at this rate.
    pub fn wait(&mut self, rate: f64) -> f64 {
        -self.unit().ln() / rate
    }

    /// 1, 2, 3, …, with this mean.
    pub fn count(&mut self, mean: f64) -> u32 {
        if mean <= 1.0 {
            return 1;
        }
        1 + (self.unit().ln() / (1.0 - 1.0 / mean).ln()) as u32
    }
}
