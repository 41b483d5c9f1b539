//! The walk that every listing makes: in order of keys, in pages, keys rolled up at a delimiter.
//!
//! Guarantee: pages neither skip nor repeat; a rolled-up prefix is sought past, not read through.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{CommonPrefix, EncodingType};

use super::error::Fault;

/// What `encoding-type=url` leaves as it is.
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*');

pub(super) const MAX_KEYS: i32 = 1000;

/// The least string above all strings that begin with `prefix`; `None` when there is none.
fn above(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            char::MAX => None,
            c => char::from_u32(u32::from(c) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// Where a walk goes on: at keys from `key` on, or beyond it.
#[derive(Clone, Debug)]
pub(super) enum From {
    At(String),
    After(String),
}

/// A row that a listing shows, and the position of it within its key.
pub(super) trait Listed {
    fn key(&self) -> &str;
}

/// One entry of a page.
pub(super) enum Entry<T> {
    Row(T),
    Prefix(String),
}

pub(super) struct Page<T> {
    pub(super) entries: Vec<Entry<T>>,
    pub(super) truncated: bool,
}

impl<T> Page<T> {
    pub(super) fn prefixes(&self, encode: &Encode) -> Option<Vec<CommonPrefix>> {
        let found = self.entries.iter().filter_map(|entry| match entry {
            Entry::Prefix(prefix) => Some(CommonPrefix { prefix: Some(encode.key(prefix)) }),
            Entry::Row(_) => None,
        });
        let found: Vec<_> = found.collect();
        (!found.is_empty()).then_some(found)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Row(row) => Some(row),
            Entry::Prefix(_) => None,
        })
    }
}

/// The key or prefix that the next page begins after.
pub(super) fn last_name<T: Listed>(page: &Page<T>) -> Option<&str> {
    page.entries.last().filter(|_| page.truncated).map(|entry| match entry {
        Entry::Row(row) => row.key(),
        Entry::Prefix(prefix) => prefix,
    })
}

/// Which keys a listing walks over.
pub(super) struct Walk {
    pub(super) prefix: String,
    pub(super) delimiter: Option<String>,
    pub(super) max: usize,
}

impl Walk {
    pub(super) fn new(prefix: Option<String>, delimiter: Option<String>, max: Option<i32>) -> Result<Self, Fault> {
        let max = max.unwrap_or(MAX_KEYS);
        if max < 0 {
            return Err(Fault::invalid_argument("max-keys must not be negative"));
        }
        Ok(Self {
            prefix: prefix.unwrap_or_default(),
            delimiter: delimiter.filter(|d| !d.is_empty()),
            max: max.min(MAX_KEYS).cast_unsigned() as usize,
        })
    }

    /// The prefix that `key` is rolled up to, if it is.
    fn rolled<'k>(&self, key: &'k str) -> Option<&'k str> {
        let rest = key.strip_prefix(self.prefix.as_str())?;
        let delimiter = self.delimiter.as_deref()?;
        rest.find(delimiter).map(|at| &key[..self.prefix.len() + at + delimiter.len()])
    }

    /// The start after a marker. A marker inside of a rolled-up prefix is past all of it.
    pub(super) fn start(&self, marker: Option<&str>) -> Option<From> {
        let Some(marker) = marker.filter(|marker| *marker >= self.prefix.as_str()) else {
            return Some(From::At(self.prefix.clone()));
        };
        match self.rolled(marker) {
            Some(prefix) => above(prefix).map(From::At),
            None => Some(From::After(marker.to_owned())),
        }
    }

    /// Reads a page. `fetch` gives up to so many rows from a position on, in order, with the rows of one key together.
    pub(super) fn page<T: Listed>(
        &self,
        start: Option<From>,
        mut fetch: impl FnMut(&From, Option<&str>, i64) -> Result<Vec<T>, Fault>,
    ) -> Result<Page<T>, Fault> {
        let mut page = Page { entries: Vec::new(), truncated: false };
        let end = above(&self.prefix).filter(|_| !self.prefix.is_empty());
        let mut at = start;
        'walk: while let Some(from) = at.take() {
            let wanted = (self.max - page.entries.len() + 1) as i64;
            let rows = fetch(&from, end.as_deref(), wanted)?;
            for row in rows {
                if page.entries.len() == self.max {
                    // With max-keys=0 nothing is shown and nothing is said to follow.
                    page.truncated = self.max > 0;
                    break 'walk;
                }
                if let Some(prefix) = self.rolled(row.key()) {
                    at = above(prefix).map(From::At);
                    page.entries.push(Entry::Prefix(prefix.to_owned()));
                    continue 'walk;
                }
                page.entries.push(Entry::Row(row));
            }
        }
        Ok(page)
    }
}

/// `encoding-type=url`, if it was asked for.
pub(super) struct Encode(bool);

impl Encode {
    pub(super) fn new(kind: Option<&EncodingType>) -> Result<Self, Fault> {
        match kind.map(|kind| kind.as_str()) {
            None => Ok(Self(false)),
            Some(EncodingType::URL) => Ok(Self(true)),
            Some(_) => Err(Fault::invalid_argument("Invalid Encoding Method specified in Request")),
        }
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.0 { utf8_percent_encode(key, URL).to_string() } else { key.to_owned() }
    }

    pub(super) fn dto(&self) -> Option<EncodingType> {
        self.0.then(|| EncodingType::from_static(EncodingType::URL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Key(&'static str);

    impl Listed for Key {
        fn key(&self) -> &str {
            self.0
        }
    }

    const KEYS: [&str; 8] = ["a", "b/", "b/1", "b/2", "c/d/1", "c/e", "z", "é/x"];

    fn page(prefix: &str, delimiter: Option<&str>, max: i32, marker: Option<&str>) -> (Vec<String>, Option<String>) {
        let walk = Walk::new(Some(prefix.into()), delimiter.map(str::to_owned), Some(max)).unwrap();
        let page = walk.page(walk.start(marker), |from, end, n| {
            let begins = |key: &str| match from {
                From::At(at) => key >= at.as_str(),
                From::After(at) => key > at.as_str(),
            };
            let found = KEYS.into_iter().filter(|key| begins(key) && end.is_none_or(|end| *key < end));
            Ok(found.take(n as usize).map(Key).collect())
        });
        let page = page.unwrap();
        let names = page.entries.iter().map(|entry| match entry {
            Entry::Row(row) => row.0.to_owned(),
            Entry::Prefix(prefix) => prefix.clone(),
        });
        (names.collect(), last_name(&page).map(str::to_owned))
    }

    #[test]
    fn a_delimiter_rolls_up_and_pages_neither_skip_nor_repeat() {
        assert_eq!(page("", Some("/"), 10, None).0, ["a", "b/", "c/", "z", "é/"]);
        for max in 1..5 {
            let (mut all, mut marker) = (Vec::new(), None);
            loop {
                let (names, next) = page("", Some("/"), max, marker.as_deref());
                all.extend(names);
                match next {
                    Some(next) => marker = Some(next),
                    None => break,
                }
            }
            assert_eq!(all, ["a", "b/", "c/", "z", "é/"], "max-keys {max}");
        }
    }

    #[test]
    fn prefixes_markers_and_limits() {
        assert_eq!(page("b/", Some("/"), 10, None).0, ["b/", "b/1", "b/2"]);
        assert_eq!(page("c/", Some("/"), 10, None).0, ["c/d/", "c/e"]);
        assert_eq!(page("", None, 10, Some("b/1")).0, ["b/2", "c/d/1", "c/e", "z", "é/x"]);
        assert_eq!(page("b", None, 2, None), (vec!["b/".into(), "b/1".into()], Some("b/1".into())));
        assert_eq!(page("", None, 0, None), (vec![], None));
        assert_eq!(page("", None, 8, None).1, None);
    }

    #[test]
    fn above_is_the_next_string_beyond_a_prefix() {
        assert_eq!(above("b/").as_deref(), Some("b0"));
        assert_eq!(above("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(above("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(above(""), None);
    }
}
