//! Tables and figures for people.
//!
//! Guarantee: columns line up on a terminal whatever the names are made of; no control character of a name reaches it.

use unicode_width::UnicodeWidthStr;

/// A name or a reason as it may be shown: without control characters, shortened in its middle to `columns`.
pub fn shown(text: &str, columns: usize) -> String {
    let clean: Vec<char> = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let whole: String = clean.iter().collect();
    if whole.width() <= columns {
        return whole;
    }
    let (mut head, mut tail) = (clean.len().min(columns) / 2, clean.len().min(columns) / 2);
    loop {
        let short: String = clean[..head].iter().chain(&['…']).chain(&clean[clean.len() - tail..]).collect();
        if short.width() <= columns || head == 0 {
            return short;
        }
        if tail >= head { tail -= 1 } else { head -= 1 }
    }
}

/// Rows under their headings, two spaces between columns.
pub fn render(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |text| text.width());
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| rows.iter().map(|row| cell(row, column)).max().unwrap_or(0).max(heading.width()))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (text, width) in cells.zip(&widths) {
            line.push_str(text);
            line.push_str(&" ".repeat(width - text.width() + 2));
        }
        format!("{}\n", line.trim_end())
    };
    let mut table = line(&mut headings.iter().copied());
    table.push_str(&line(
        &mut widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().iter().map(String::as_str),
    ));
    for row in rows {
        table.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    table
}

/// Milliseconds as seconds: `2.3 s`.
pub fn seconds(ms: Option<i64>) -> String {
    ms.map_or_else(|| "—".to_owned(), |ms| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100))
}

/// Bytes: `21.6 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count as f64, "B");
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_around_wide_characters() {
        let rows = vec![vec!["🎬.mp4".into(), "1".into()], vec!["ab".into(), "22".into()]];
        let table = render(&["name", "n"], &rows);
        assert_eq!(table, "name    n\n──────  ──\n🎬.mp4  1\nab      22\n");
    }

    #[test]
    fn names_are_harmless_and_short() {
        assert_eq!(shown("a\u{1b}[31m\n", 20), "a\u{fffd}[31m\u{fffd}");
        assert_eq!(shown("abcdefghij", 5).chars().filter(|c| *c == '…').count(), 1);
        for columns in 3..20 {
            assert!(shown("🎬🎬🎬 a long name of a film 🎬🎬🎬.mp4", columns).width() <= columns, "{columns}");
        }
    }

    #[test]
    fn figures_read_well() {
        assert_eq!((seconds(Some(2_345)), seconds(None)), ("2.3 s".into(), "—".into()));
        assert_eq!(
            (bytes(17), bytes(22_700_000), bytes(5 << 40)),
            ("17 B".into(), "21.6 MiB".into(), "5.0 TiB".into())
        );
    }
}
