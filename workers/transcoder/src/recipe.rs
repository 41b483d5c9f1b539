//! The recipe: what the planner decided and every chunk follows, kept in the job's row.

use reelfleet_catalog::runs::Run;
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Where a chain took over from chunks that did not fit together: the place of its first run (chunk, run).
    #[serde(default)]
    pub seam: Option<(u32, i64)>,
    /// No keyframe of the container can be believed.
    #[serde(default)]
    pub misled: bool,
    /// The first rung is the source's own stream: how long its pictures wait for those decoded before them (microseconds).
    #[serde(default)]
    pub copy_delay_us: Option<i64>,
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

impl VideoRecipe {
    /// Pixels encoded for each second of media, all renditions together.
    pub(crate) fn pixels_per_s(&self) -> f64 {
        let pixels: f64 = self.encoded().iter().map(|rung| f64::from(rung.width) * f64::from(rung.height)).sum();
        pixels * self.fps.unwrap_or(25.0)
    }

    /// The rungs that are encoded.
    pub(crate) fn encoded(&self) -> &[Rung] {
        self.rungs.get(usize::from(self.copy_delay_us.is_some())..).unwrap_or_default()
    }

    /// Whether a run is the first of a chain that took over.
    pub(crate) fn is_seam(&self, run: &Run) -> bool {
        self.seam.is_some_and(|(chunk, number)| (i64::from(chunk), number) == (run.chunk, run.run))
    }
}

impl Recipe {
    /// Reads a job's plan.
    pub(crate) fn read(plan: Option<&str>) -> Result<Self, WorkError> {
        let text = plan.ok_or_else(|| WorkError::again("the job has no plan yet"))?;
        serde_json::from_str(text).map_err(|error| WorkError::again(format!("the job's plan can't be read: {error}")))
    }
}
