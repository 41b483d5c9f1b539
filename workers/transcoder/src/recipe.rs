//! The recipe: what the planner decided and every chunk follows, kept in the job's row.

use reelfleet_domain::Rung;
use reelfleet_fleet::WorkError;
use serde::{Deserialize, Serialize};

/// The plan of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recipe {
    /// The asset's zero in the source's time (microseconds).
    pub t0_us: i64,
    /// What is made of the pictures.
    pub video: Option<VideoRecipe>,
    /// What is made of the sound.
    pub audio: Option<AudioRecipe>,
}

/// What is made of the pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VideoRecipe {
    /// Stream of the source.
    pub stream: u32,
    /// The ladder.
    pub rungs: Vec<Rung>,
    /// Clockwise quarter turns (degrees) that make it upright.
    pub rotation: u16,
    /// Mirrored before the rotation.
    pub flipped: bool,
    /// Interlaced source.
    pub deinterlace: bool,
    /// HDR source.
    pub tone_map: bool,
    /// Mean frames per second, where known.
    pub fps: Option<f64>,
    /// The container can't be entered in the middle.
    pub sequential: bool,
    /// Chunks in all.
    pub chunks: u32,
}

/// What is made of the sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AudioRecipe {
    /// Stream of the source.
    pub stream: u32,
    /// Bits per second.
    pub bitrate: u32,
    /// The container can't be entered in the middle.
    pub sequential: bool,
}

impl Recipe {
    /// Reads a job's plan.
    pub(crate) fn read(plan: Option<&str>) -> Result<Self, WorkError> {
        let text = plan.ok_or_else(|| WorkError::again("the job has no plan yet"))?;
        serde_json::from_str(text).map_err(|error| WorkError::again(format!("the job's plan can't be read: {error}")))
    }
}
