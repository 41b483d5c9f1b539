//! When uploads come.
//!
//! Guarantee: a Poisson process whose rate follows the shape exactly (by thinning), the same for the same seed.

use std::f64::consts::TAU;



use super::random::Random;

/// How the rate of uploads changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Not at all
    Steady,
    /// Over a day, from a fifth of its mean to nearly twice
    Diurnal,
    /// Ten times as many for ten minutes, after an hour
    Burst,
}

/// Uploads to come.
#[derive(Debug, Clone)]
pub struct Arrivals {
    shape: Shape,
    per_s: f64,
    random: Random,
    now_s: f64,
}

impl Arrivals {
    /// So many an hour in the mean.
    pub fn new(shape: Shape, per_hour: f64, random: Random) -> Self {
        Self { shape, per_s: per_hour / 3_600.0, random, now_s: 0.0 }
    }

    /// Seconds from the beginning to the next upload; `None` where none ever comes.
    pub fn next(&mut self) -> Option<f64> {
        if self.per_s <= 0.0 {
            return None;
        }
        let most = match self.shape {
            Shape::Steady => 1.0,
            Shape::Diurnal => 1.8,
            Shape::Burst => 10.0,
        };
        loop {
            self.now_s += self.random.wait(self.per_s * most);
            if self.random.unit() * most <= self.shape.factor(self.now_s) {
                return Some(self.now_s);
            }
        }
    }
}

impl Shape {
    /// The rate at this time, of its mean.
    pub fn factor(self, at_s: f64) -> f64 {
        match self {
            Self::Steady => 1.0,
            Self::Diurnal => 1.0 - 0.8 * (TAU * at_s / 86_400.0).cos(),
            Self::Burst => {
                if (3_600.0..4_200.0).contains(&at_s) {
                    10.0
                } else {
                    1.0
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_come_as_the_shape_says() {
        for (shape, from_s, to_s, wanted) in [
            (Shape::Steady, 0.0, 86_400.0, 24_000.0),
            (Shape::Diurnal, 0.0, 86_400.0, 24_000.0),
            (Shape::Diurnal, 0.0, 3_600.0, 209.0),
            (Shape::Burst, 3_600.0, 4_200.0, 1_667.0),
        ] {
            let mut arrivals = Arrivals::new(shape, 1_000.0, Random::new(7));
            let times = std::iter::from_fn(|| arrivals.next()).take_while(|at| *at < to_s);
            let count = times.filter(|at| *at >= from_s).count() as f64;
            assert!((count - wanted).abs() < 5.0 * f64::sqrt(wanted), "{shape:?}: {count} instead of {wanted}");
        }
    }
}
