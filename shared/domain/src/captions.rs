//! Captions as people bring them (WebVTT, SubRip), made into WebVTT that every player reads.
//!
//! Guarantee: any text is refused with a sentence or becomes cues in the order of their beginnings, each with an end
//! after its beginning, with none of the markup but `<b>`, `<i>` and `<u>`, well nested. What comes out, read again, is
//! the same.
//!
//! Sources: W3C WebVTT (file structure, cue timings); SubRip has no specification, its form is that of its tools.

use std::fmt::Write as _;

/// Cues of one file.
pub const MOST_CUES: usize = 20_000;
/// Characters of one cue.
const MOST_TEXT: usize = 2_000;
const TAGS: [&str; 3] = ["b", "i", "u"];

/// Why a text is no captions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptionsError {
    /// No timing line at all.
    #[error("no cue was found: WebVTT and SubRip files have lines such as 00:01.000 --> 00:04.000")]
    NoCues,
    /// A timing line that can't be read.
    #[error("line {line} is no timing: {text}")]
    Timing {
        /// Its number, from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// A cue that ends before it begins.
    #[error("the cue of line {line} ends before it begins")]
    Backwards {
        /// The number of its timing line, from 1.
        line: usize,
    },
    /// Too many cues.
    #[error("there are more than {MOST_CUES} cues")]
    TooMany,
}

/// One cue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    /// Milliseconds.
    pub start_ms: u64,
    /// Milliseconds.
    pub end_ms: u64,
    /// Lines, with markup that is well nested.
    pub text: String,
}

/// The cues of a WebVTT or SubRip file, in the order of their beginnings.
///
/// # Errors
/// See [`CaptionsError`].
pub fn parse(text: &str) -> Result<Vec<Cue>, CaptionsError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').enumerate().peekable();
    let mut cues = Vec::new();
    while let Some((index, line)) = lines.next() {
        if is_block(line) {
            while lines.next_if(|(_, line)| !line.trim().is_empty()).is_some() {}
            continue;
        }
        if !line.contains("-->") {
            continue;
        }
        let wrong = || CaptionsError::Timing { line: index + 1, text: line.trim().chars().take(60).collect() };
        let (start, rest) = line.split_once("-->").ok_or_else(wrong)?;
        let end = rest.split_whitespace().next().ok_or_else(wrong)?;
        let (start_ms, end_ms) = (time(start.trim()).ok_or_else(wrong)?, time(end).ok_or_else(wrong)?);
        if end_ms < start_ms {
            return Err(CaptionsError::Backwards { line: index + 1 });
        }
        let mut said = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.trim().is_empty() && !line.contains("-->")) {
            said.push(line.trim());
        }
        // Where no empty line was left, the number of the next SubRip cue stands at the end of this one.
        if lines.peek().is_some_and(|(_, line)| line.contains("-->"))
            && said.last().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
        {
            said.pop();
        }
        let text = cleaned(&said.join("\n"));
        if end_ms > start_ms && !text.is_empty() {
            if cues.len() == MOST_CUES {
                return Err(CaptionsError::TooMany);
            }
            cues.push(Cue { start_ms, end_ms, text });
        }
    }
    if cues.is_empty() {
        return Err(CaptionsError::NoCues);
    }
    cues.sort_by_key(|cue| cue.start_ms);
    Ok(cues)
}

/// The cues as a WebVTT file, which is an HLS segment too: its clock is that of the pictures (RFC 8216, 3.5), whose
/// timestamps begin with the asset. Readers that are no HLS players skip that header.
pub fn to_webvtt(cues: &[Cue]) -> String {
    let mut text = String::from("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n");
    for cue in cues {
        let _ = write!(text, "\n{} --> {}\n{}\n", stamp(cue.start_ms), stamp(cue.end_ms), cue.text);
    }
    text
}

/// The beginning of a block that holds no cue.
fn is_block(line: &str) -> bool {
    ["NOTE", "STYLE", "REGION"]
        .iter()
        .any(|word| line.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])))
        && !line.contains("-->")
}

/// `[h…h:]mm:ss.ttt`, with a comma in SubRip. Below a thousand hours.
fn time(text: &str) -> Option<u64> {
    let (clock, fraction) = text.split_once(['.', ','])?;
    let number = |text: &str, most: usize| -> Option<u64> {
        let good = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if good { text.parse().ok() } else { None }
    };
    let mut millis = number(fraction, 3)?;
    for _ in fraction.len()..3 {
        millis *= 10;
    }
    let mut parts = clock.rsplit(':');
    let (seconds, minutes) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let hours = parts.next().map_or(Some(0), |text| number(text, 3))?;
    if seconds > 59 || minutes > 59 || parts.next().is_some() {
        return None;
    }
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000 + millis)
}

fn stamp(ms: u64) -> String {
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// The text with the markup that is kept, well nested, and all else escaped.
fn cleaned(text: &str) -> String {
    // Before anything is recognised: what is hidden behind a control character would be seen once it is gone.
    let text: String =
        text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control() || *c == '\n').collect();
    let mut open: Vec<&str> = Vec::new();
    let (mut out, mut rest, mut count) = (String::new(), text.as_str(), 0);
    while let Some(letter) = rest.chars().next() {
        if letter == '<'
            && let Some((tag, after)) = rest.get(1..).and_then(|rest| rest.split_once('>'))
            && tag.len() < 100
            && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
            && !tag.contains(['<', '\n'])
        {
            rest = after;
            markup(tag, &mut open, &mut out);
            continue;
        }
        if letter == '{'
            && let Some(after) = rest.strip_prefix("{\\").and_then(|rest| rest.split_once('}')).map(|(_, after)| after)
        {
            // Of SubStation, as SubRip files have it: {\an8}.
            rest = after;
            continue;
        }
        let entity =
            ["&amp;", "&lt;", "&gt;", "&nbsp;", "&lrm;", "&rlm;"].iter().find(|known| rest.starts_with(**known));
        let taken = match (letter, entity) {
            ('&', Some(entity)) => {
                out.push_str(entity);
                entity.len()
            }
            _ => {
                match letter {
                    '&' => out.push_str("&amp;"),
                    '<' => out.push_str("&lt;"),
                    '>' => out.push_str("&gt;"),
                    // Of two halves of a mark that another lay between, no mark is made.
                    '\\' if out.ends_with('{') => {}
                    other => out.push(other),
                }
                letter.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
        count += 1;
        if count >= MOST_TEXT {
            break;
        }
    }
    for tag in open.into_iter().rev() {
        let _ = write!(out, "</{tag}>");
    }
    // A line without a letter would end the cue.
    let lines = out.split('\n').map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// Opens or closes a tag that is kept; what stands open inside is closed first.
fn markup(tag: &str, open: &mut Vec<&'static str>, out: &mut String) {
    let (closes, name) = tag.strip_prefix('/').map_or((false, tag), |name| (true, name));
    let name = name.split(['.', ' ', '\t']).next().unwrap_or_default().to_ascii_lowercase();
    let Some(name) = TAGS.into_iter().find(|known| *known == name) else { return };
    if !closes {
        open.push(name);
        let _ = write!(out, "<{name}>");
    } else if open.contains(&name) {
        while let Some(inner) = open.pop() {
            let _ = write!(out, "</{inner}>");
            if inner == name {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cue(start_ms: u64, end_ms: u64, text: &str) -> Cue {
        Cue { start_ms, end_ms, text: text.into() }
    }

    #[test]
    fn both_formats_are_read() {
        let vtt = "\u{feff}WEBVTT - title\nKind: captions\n\nNOTE it is\nnot --> a cue\n\nSTYLE\n::cue { color: red }\n\n\
                   id 7\n00:01.000 --> 00:02.500 align:start line:0\n<v Ann>Hi <b>you</b></v>\nthere\n\n\
                   01:00:00.000 --> 01:00:01.000\n- last";
        let read = parse(vtt).unwrap();
        assert_eq!(read, [cue(1_000, 2_500, "Hi <b>you</b>\nthere"), cue(3_600_000, 3_601_000, "- last")]);
        let srt = "1\r\n00:00:05,5 --> 00:00:06,000\r\n{\\an8}Über & <font color=\"red\">aus</font>\r\n2\r\n\
                   00:00:01,000 --> 00:00:02,000\r\n<i>first\r\n\r\n";
        let read = parse(srt).unwrap();
        assert_eq!(read, [cue(1_000, 2_000, "<i>first</i>"), cue(5_500, 6_000, "Über &amp; aus")]);
        let written = to_webvtt(&read);
        let header = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n";
        assert!(
            written.starts_with(&format!("{header}\n00:00:01.000 --> 00:00:02.000\n<i>first</i>\n\n")),
            "{written}"
        );
        assert_eq!(parse(&written).unwrap(), read);
    }

    #[test]
    fn what_is_none_is_refused() {
        assert_eq!(parse(""), Err(CaptionsError::NoCues));
        assert_eq!(parse("WEBVTT\n\nhello"), Err(CaptionsError::NoCues));
        assert_eq!(parse("a\n00:02.000 --> 00:01.000\nx"), Err(CaptionsError::Backwards { line: 2 }));
        for bad in
            ["0:0 --> 1:0", "00:61.000 --> 00:62.000", "1:2:3:4.000 --> 00:05.000", "x --> y", "-->", "00:01.000 -->"]
        {
            assert!(matches!(parse(&format!("{bad}\nx")), Err(CaptionsError::Timing { line: 1, .. })), "{bad}");
        }
        let many = "00:01.000 --> 00:02.000\nx\n\n".repeat(MOST_CUES + 1);
        assert_eq!(parse(&many), Err(CaptionsError::TooMany));
    }

    #[test]
    fn markup_is_well_nested_and_nothing_else_passes() {
        for (said, kept) in [
            ("<b>a<i>b</b>c</i>", "<b>a<i>b</i></b>c"),
            ("<B.loud>a", "<b>a</b>"),
            ("<script>x</script>", "x"),
            ("1 < 2 > 0 & &amp; &lt;", "1 &lt; 2 &gt; 0 &amp; &amp; &lt;"),
            ("</b>", ""),
            ("<00:01.000>sung", "sung"),
            ("a\u{0}\u{7}b", "ab"),
        ] {
            assert_eq!(cleaned(said), kept, "{said}");
        }
    }

    #[test]
    fn what_was_taken_out_leaves_no_mark_behind() {
        let cue = |text: &str| parse(&format!("00:01.000 --> 00:02.000\n{text}")).map(|cues| cues[0].text.clone());
        assert_eq!(cue("ä{\t\\}").unwrap(), "ä{ \\}");
        assert_eq!(cue("ä{\0\\an8}b").unwrap(), "äb");
        assert_eq!(cue("ä{{\\a}\\b}").unwrap(), "ä{b}");
        assert_eq!(cue("ä{<x>\\an8}").unwrap(), "ä{an8}");
        assert_eq!(cue("one\ttwo").unwrap(), "one two");
    }

    proptest! {
        #[test]
        fn what_comes_out_reads_back(text in "[ -~\u{e4}\u{1f600}\n\r\t]{0,300}", stamps in prop::collection::vec((0u64..9_999_999, 1u64..9_999), 0..6)) {
            let mut file = text.clone();
            for (start, length) in &stamps {
                file.push_str(&format!("\n\n{} --> {}\n{text}", stamp(*start), stamp(start + length)));
            }
            if let Ok(cues) = parse(&file) {
                prop_assert!(cues.is_sorted_by_key(|cue| cue.start_ms));
                prop_assert!(cues.iter().all(|cue| cue.end_ms > cue.start_ms && !cue.text.contains("-->")));
                prop_assert_eq!(parse(&to_webvtt(&cues)).unwrap(), cues);
            }
        }
    }
}
