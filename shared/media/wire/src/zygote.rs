//! What a worker says to its zygote and what it hears back.
//!
//! The zygote is the decoder executable before it has met any media: it forks one child per attempt. Its standard input
//! is a SOCK_SEQPACKET socket, so each message is one packet of JSON. [`Command::Fork`] carries three descriptors
//! (SCM_RIGHTS): source socket, output pipe, stderr pipe. A ticket is the worker's own number for one child.

use serde::{Deserialize, Serialize};

use crate::frame::WireError;

/// Largest message either side sends.
pub const MAX_MESSAGE: usize = 4096;
/// Descriptors that go with [`Command::Fork`].
pub const DESCRIPTORS: usize = 3;

/// Worker to zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Make a child, jail it, let it serve the request it finds on its source socket.
    Fork {
        ticket: u64,
        /// Address space of the child in bytes.
        address_space: u64,
        /// Processor seconds of the child over all its threads.
        cpu_seconds: u64,
        /// How far the child stands back where processors are short, 0 to 19.
        nice: u8,
    },
    /// End that child now. Nothing happens where it has ended already.
    Kill { ticket: u64 },
}

/// Zygote to worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Report {
    /// First message: a trial child closed the jail around itself.
    Ready {
        /// How strong it is, for people.
        jail: String,
        /// How much of Landlock is in force: `full`, `partial` or `none`. seccomp is, in any case.
        landlock: Landlock,
        /// The version of the kernel's Landlock interface, 0 without Landlock.
        landlock_abi: u32,
        /// What the FFmpeg that it was started with lacks.
        #[serde(default)]
        missing: Missing,
    },
    /// First and last message: no jail can be closed here.
    Refused {
        why: String,
    },
    Forked {
        ticket: u64,
        pid: u32,
    },
    /// The child could not be made.
    Failed {
        ticket: u64,
        why: String,
    },
    /// The child ended: by `signal`, or else with the code `exit`.
    Exited {
        ticket: u64,
        signal: Option<i32>,
        exit: Option<i32>,
        /// Processor time over all its threads.
        cpu_ms: u64,
        /// Most memory it held, in KiB.
        max_rss_kib: u64,
    },
}

/// Codecs that are wanted and that the linked FFmpeg does not have, by FFmpeg's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missing {
    /// Without these nothing can be made.
    pub encoders: Vec<String>,
    /// Sources of these are refused.
    pub decoders: Vec<String>,
}

/// How much of Landlock is in force in a jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landlock {
    /// Every right that is asked for.
    Full,
    /// Those that an older kernel knows.
    Partial,
    None,
}

/// # Errors
/// `TooLarge` above [`MAX_MESSAGE`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, WireError> {
    let json = serde_json::to_vec(message).map_err(|source| WireError::Json { what: "zygote message", source })?;
    if json.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge { what: "zygote message", len: json.len() as u64, max: MAX_MESSAGE as u64 });
    }
    Ok(json)
}

/// # Errors
/// `Json` where it is no such message.
pub fn decode<'a, T: Deserialize<'a>>(packet: &'a [u8]) -> Result<T, WireError> {
    serde_json::from_slice(packet).map_err(|source| WireError::Json { what: "zygote message", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        let fork = Command::Fork { ticket: 7, address_space: 1 << 30, cpu_seconds: 60, nice: 10 };
        assert_eq!(decode::<Command>(&encode(&fork).unwrap()).unwrap(), fork);
        let end = Report::Exited { ticket: 7, signal: Some(9), exit: None, cpu_ms: 12, max_rss_kib: 4096 };
        assert_eq!(decode::<Report>(&encode(&end).unwrap()).unwrap(), end);
    }

    #[test]
    fn a_long_message_is_refused() {
        let why = "x".repeat(MAX_MESSAGE);
        assert!(encode(&Report::Refused { why }).is_err());
    }
}
