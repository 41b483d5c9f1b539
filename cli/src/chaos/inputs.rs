//! What is uploaded: the given media, files made hostile from them, and keys such as people make.
//!
//! Guarantee: which upload carries which input, by which way and under which key follows from the seed and the sorted
//! names of the media alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One uploads out of so many is hostile.
const HOSTILE_SHARE: u32 = 10;
/// One upload through the API out of so many is large enough to go up in parts.
const LARGE_SHARE: u32 = 40;
/// Above the size below which the gateway signs one PUT.
const LARGE: usize = 17 << 20;

/// A file to upload, and what is known of it beforehand.
#[derive(Clone, Debug)]
pub struct Input {
    /// For reports.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The code of the refusal that a hostile one must meet.
    pub refused: Option<&'static str>,
    /// Goes up in parts.
    pub large: bool,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Inputs(pub Vec<Input>);

/// By which way a file goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the gateway.
    Api,
    /// Straight into the bucket, by a client that knows nothing of the fleet.
    Raw,
}

/// One upload of the storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cargo {
    /// From 0.
    pub number: usize,
    /// Which input.
    pub input: usize,
    /// How.
    pub way: Way,
    /// The object's key, or the file's name.
    pub name: String,
}

impl Inputs {
    /// The given files, or the files of the given folders, and what is made of them in `made`.
    pub fn gather(media: &[PathBuf], made: &Path) -> anyhow::Result<Self> {
        let mut paths = Vec::new();
        for path in media {
            if path.is_dir() {
                let listed = fs::read_dir(path).with_context(|| format!("{} can't be read", path.display()))?;
                for entry in listed {
                    let path = entry?.path();
                    if path.is_file() {
                        paths.push(path.canonicalize()?);
                    }
                }
            } else {
                paths.push(path.canonicalize().with_context(|| format!("{} can't be read", path.display()))?);
            }
        }
        paths.sort();
        paths.dedup();
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut inputs: Vec<Input> = paths
            .iter()
            .map(|path| Input { name: name(path), path: path.clone(), refused: None, large: false })
            .collect();
        let Some(film) = paths.iter().find(|path| path.extension().is_some_and(|ending| ending == "mp4")) else {
            bail!("no .mp4 among the media: hostile files are made from the first one")
        };
        let bytes = fs::read(film).with_context(|| format!("{} can't be read", film.display()))?;
        crate::private_file::make_folder(made)?;
        let mut make = |name: &str, bytes: &[u8], refused, large| {
            let path = made.join(name);
            fs::write(&path, bytes).with_context(|| format!("{} can't be written", path.display()))?;
            inputs.push(Input { name: name.to_owned(), path, refused, large });
            anyhow::Ok(())
        };
        make("cut.mp4", &bytes[..bytes.len() * 6 / 10], Some("truncated"), false)?;
        make("letter.mp4", b"Dear reader, this is no film.\n", Some("not_media"), false)?;
        make("nothing.mp4", b"", Some("empty"), false)?;
        make("padded.mp4", &padded(bytes), None, true)?;
        Ok(Self(inputs))
    }

    /// The uploads of a seed: half of them by each way.
    pub fn cargo(&self, seed: u64, count: usize) -> Vec<Cargo> {
        // Another sequence than that of the blows.
        let mut random = StdRng::seed_from_u64(seed ^ 0x6361_7267_6f00_0000);
        let of = |fits: fn(&Input) -> bool| -> Vec<usize> {
            self.0.iter().enumerate().filter(|(_, input)| fits(input)).map(|(index, _)| index).collect()
        };
        let hostile = of(|input| input.refused.is_some());
        let large = of(|input| input.large);
        let plain = of(|input| input.refused.is_none() && !input.large);
        (0..count)
            .map(|number| {
                let way = if number % 2 == 0 { Way::Api } else { Way::Raw };
                let from = if random.random_ratio(1, HOSTILE_SHARE) {
                    &hostile
                } else if way == Way::Api && random.random_ratio(1, LARGE_SHARE) {
                    &large
                } else {
                    &plain
                };
                let input = from.get(random.random_range(0..from.len().max(1))).copied().unwrap_or_default();
                let name = ugly(number, random.random_range(0..UGLY.len()), way);
                Cargo { number, input, way, name }
            })
            .collect()
    }
}

/// The film with a box that readers skip (`free`, ISO/IEC 14496-12, 8.1.2) at its end.
fn padded(mut film: Vec<u8>) -> Vec<u8> {
    film.extend((LARGE as u32).to_be_bytes());
    film.extend(*b"free");
    film.resize(film.len() + LARGE - 8, 0x5a);
    film
}

/// Names with what URLs, forms, XML, JSON, shells and people treat each in their own way.
const UGLY: [&str; 12] = [
    "plain.mp4",
    "Ferien & Meer (1+1=100%) 🎬.mp4",
    "a+b c%20d%2Fe.mp4",
    "日本語 の ファイル.mov",
    "quote's \"double\" `back`.mp4",
    "semi;colon,comma=equals?query#hash.mp4",
    "Cafe\u{301} – Zu\u{308}rich.mkv",
    "back\\slash $HOME ${x} $(y).mp4",
    "<tag attr='1'>&amp;</tag>.mp4",
    "  two  spaces  .mp4",
    "~tilde.!star*.(round).mp4",
    "no-extension",
];

fn ugly(number: usize, which: usize, way: Way) -> String {
    let name = UGLY[which % UGLY.len()];
    match way {
        Way::Api => format!("{number:05} {name}").replace('/', "∕"),
        // A double slash is a key of its own in S3.
        Way::Raw if number % 7 == 1 => format!("drops//{number:05}/{name}"),
        Way::Raw => format!("drops/{number:05}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn inputs() -> Inputs {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.mp4", "b.jpg"] {
            fs::write(folder.path().join(name), [7; 1_000]).unwrap();
        }
        Inputs::gather(&[folder.path().to_owned()], &folder.path().join("made")).unwrap()
    }

    #[test]
    fn hostile_and_large_files_are_made_from_the_first_film() {
        let inputs = inputs().0;
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        assert_eq!(names, ["a.mp4", "b.jpg", "cut.mp4", "letter.mp4", "nothing.mp4", "padded.mp4"]);
        assert_eq!(inputs.iter().filter(|input| input.refused.is_some()).count(), 3);
        assert_eq!(padded(vec![1; 5]).len(), 5 + LARGE);
    }

    #[test]
    fn the_cargo_follows_from_the_seed_and_no_name_comes_twice() {
        let inputs = inputs();
        let cargo = inputs.cargo(3, 400);
        assert_eq!(cargo, inputs.cargo(3, 400));
        assert_ne!(cargo, inputs.cargo(4, 400));
        assert_eq!(cargo.iter().map(|c| &c.name).collect::<BTreeSet<_>>().len(), 400);
        assert_eq!(cargo.iter().filter(|c| c.way == Way::Api).count(), 200);
        assert!(cargo.iter().filter(|c| c.way == Way::Api).all(|c| !c.name.contains('/')));
        assert_eq!(cargo.iter().map(|c| c.input).collect::<BTreeSet<_>>().len(), inputs.0.len(), "all are used");
    }

    #[test]
    fn without_a_film_nothing_begins() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Inputs::gather(&[folder.path().to_owned()], folder.path()).is_err());
    }
}
