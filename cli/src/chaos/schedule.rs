//! What is struck, how and when: drawn from a seed.
//!
//! Guarantee: the same seed gives the same sequence of blows (kind, victim, interval, length), whatever the machine
//! does meanwhile; every kind of victim is struck at least once in each [`DECK`] of kills. Which of several processes
//! of a role it is follows from the same seed and from how many live at that moment.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;

/// Who is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Victim {
    /// An intake worker.
    Intake,
    /// A transcoder.
    Transcoder,
    /// A thumbnailer.
    Thumbnailer,
    /// The metadata worker.
    Metadata,
    /// The janitor.
    Janitor,
    /// The notifier.
    Notifier,
    /// The gateway.
    Gateway,
    /// The embedded endpoint: objects, queues, topics and database at once.
    Endpoint,
    /// Whichever process holds rows of the outbox that it has not sent yet.
    Relay,
    /// The parent of a worker's decoders.
    Zygote,
    /// One decoder at work.
    Decoder,
}

impl Victim {
    /// As in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Transcoder => "transcoder",
            Self::Thumbnailer => "thumbnailer",
            Self::Metadata => "metadata",
            Self::Janitor => "janitor",
            Self::Notifier => "notifier",
            Self::Gateway => "gateway",
            Self::Endpoint => "endpoint",
            Self::Relay => "relay",
            Self::Zygote => "zygote",
            Self::Decoder => "decoder",
        }
    }
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after this long.
    Stop(Duration),
}

/// One blow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    /// Since the blow before.
    pub after: Duration,
    /// Who.
    pub victim: Victim,
    /// What.
    pub deed: Deed,
    /// Which of several: modulo their number.
    pub pick: u64,
}

/// Kills before every kind of victim has had its turn again.
const DECK: [Victim; 20] = [
    Victim::Transcoder,
    Victim::Transcoder,
    Victim::Transcoder,
    Victim::Transcoder,
    Victim::Decoder,
    Victim::Decoder,
    Victim::Decoder,
    Victim::Zygote,
    Victim::Intake,
    Victim::Intake,
    Victim::Thumbnailer,
    Victim::Metadata,
    Victim::Janitor,
    Victim::Notifier,
    Victim::Notifier,
    Victim::Gateway,
    Victim::Gateway,
    Victim::Relay,
    Victim::Relay,
    Victim::Endpoint,
];
/// Who is paused past its lease. Each waits its turn too.
const PAUSED: [Victim; 8] = [
    Victim::Transcoder,
    Victim::Transcoder,
    Victim::Intake,
    Victim::Thumbnailer,
    Victim::Metadata,
    Victim::Notifier,
    Victim::Gateway,
    Victim::Endpoint,
];
/// Kills between two pauses.
const KILLS_A_PAUSE: u32 = 5;

/// The blows of a seed, without end.
#[derive(Debug)]
pub struct Schedule {
    random: StdRng,
    every: Duration,
    past_lease: Duration,
    kills: Vec<Victim>,
    pauses: Vec<Victim>,
    since_pause: u32,
}

impl Schedule {
    /// Blows every so often on average; pauses are longer than `past_lease`.
    pub fn new(seed: u64, every: Duration, past_lease: Duration) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { random, every, past_lease, kills: Vec::new(), pauses: Vec::new(), since_pause: 0 }
    }

    fn dealt(&mut self, deck: &[Victim], hand: fn(&mut Self) -> &mut Vec<Victim>) -> Victim {
        loop {
            if let Some(victim) = hand(self).pop() {
                return victim;
            }
            let mut fresh = deck.to_vec();
            fresh.shuffle(&mut self.random);
            *hand(self) = fresh;
        }
    }
}

impl Iterator for Schedule {
    type Item = Blow;

    fn next(&mut self) -> Option<Blow> {
        let after = self.every.mul_f64(self.random.random_range(0.4..1.6));
        let (victim, deed) = if self.since_pause == KILLS_A_PAUSE {
            self.since_pause = 0;
            let victim = self.dealt(&PAUSED, |all| &mut all.pauses);
            let beyond = Duration::from_millis(self.random.random_range(500..3_000));
            (victim, Deed::Stop(self.past_lease + beyond))
        } else {
            self.since_pause += 1;
            (self.dealt(&DECK, |all| &mut all.kills), Deed::Kill)
        };
        Some(Blow { after, victim, deed, pick: self.random.random() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn blows(seed: u64, count: usize) -> Vec<Blow> {
        Schedule::new(seed, Duration::from_secs(2), Duration::from_secs(8)).take(count).collect()
    }

    #[test]
    fn a_seed_is_a_schedule() {
        assert_eq!(blows(7, 300), blows(7, 300));
        assert_ne!(blows(7, 30), blows(8, 30));
    }

    #[test]
    fn everybody_has_a_turn_and_pauses_outlast_the_lease() {
        let blows = blows(1, 24);
        let killed: Vec<Victim> = blows.iter().filter(|b| b.deed == Deed::Kill).map(|b| b.victim).collect();
        assert_eq!(killed.len(), DECK.len());
        assert_eq!(killed.iter().collect::<BTreeSet<_>>(), DECK.iter().collect());
        let longer = |blow: &Blow| matches!(blow.deed, Deed::Stop(length) if length > Duration::from_secs(8));
        assert_eq!(blows.iter().filter(|blow| longer(blow)).count(), 4);
        assert!(blows.iter().all(|b| b.after >= Duration::from_millis(800) && b.after <= Duration::from_millis(3_200)));
    }
}
