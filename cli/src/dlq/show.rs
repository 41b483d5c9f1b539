//! Letters for people and for programs.
//!
//! Guarantee: no control character of a letter reaches a terminal; the JSON holds all of it.

use reelfleet_catalog::audit::AuditEntry;
use serde_json::{Value, json};

use crate::table;
use reelfleet_fleet::dead_letters::Found;

/// One line each.
pub fn list(letters: &[Found], now_ms: i64) -> String {
    let rows: Vec<Vec<String>> = letters
        .iter()
        .map(|letter| {
            let attempts = letter.letter.attempts.map_or_else(|| "—".to_owned(), |count| count.to_string());
            let exit = letter.letter.exit.as_deref().map_or_else(|| "—".to_owned(), |exit| table::shown(exit, 32));
            vec![
                letter.id.clone(),
                letter.queue.to_string(),
                dash(letter.kind()),
                dash(&table::shown(&letter.asset(), 32)),
                table::shown(letter.code(), 28),
                attempts,
                exit,
                age(now_ms.saturating_sub(letter.at())),
            ]
        })
        .collect();
    table::render(&["id", "queue", "kind", "asset", "reason", "attempts", "exit", "age"], &rows)
}

fn dash(text: &str) -> String {
    if text.is_empty() { "—".into() } else { text.into() }
}

fn age(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// All of one letter.
pub fn whole(letter: &Found, past: &[AuditEntry]) -> String {
    const WIDE: usize = 4_096;
    let told = &letter.letter;
    let number = |value: Option<i64>| value.map(|value| value.to_string());
    let reproducer = told.reproducer.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let reproducer = reproducer.and_then(|value| serde_json::to_string_pretty(&value).ok());
    let body = serde_json::from_str::<Value>(&letter.body).ok();
    let body = body.and_then(|value| serde_json::to_string_pretty(&value).ok());
    let lines = [
        ("id", Some(letter.id.clone())),
        ("queue", Some(letter.queue.to_string())),
        ("task", letter.task.as_ref().map(|task| task.task.to_string())),
        ("kind", Some(letter.kind().to_owned()).filter(|kind| !kind.is_empty())),
        ("asset", Some(letter.asset()).filter(|asset| !asset.is_empty())),
        ("reason", Some(told.reason.clone()).filter(|r| !r.is_empty()).or_else(|| Some(letter.code().to_owned()))),
        ("attempts", number(told.attempts)),
        ("crashes", number(told.crashes)),
        ("exit", told.exit.clone()),
        ("error", told.error.clone()),
        ("token", number(told.token)),
        ("reproducer", reproducer.or_else(|| told.reproducer.clone())),
        ("body", Some(body.unwrap_or_else(|| letter.body.clone()))),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let Some(value) = value else { continue };
        let mut value = value.lines().map(|line| table::shown(line, WIDE));
        text.push_str(&format!("{name:<12}{}\n", value.next().unwrap_or_default()));
        for line in value {
            text.push_str(&format!("{:<12}{line}\n", ""));
        }
    }
    for entry in past {
        text.push_str(&format!("{:<12}{} by {}\n", "before", entry.what, table::shown(&entry.who, 64)));
    }
    text
}

/// All of a letter for programs.
pub fn json(letter: &Found) -> Value {
    let told = &letter.letter;
    json!({
        "id": letter.id,
        "queue": letter.queue.as_str(),
        "code": letter.code(),
        "reason": told.reason,
        "task": letter.task.as_ref().map(|task| task.task.to_string()),
        "kind": letter.task.as_ref().map(|task| task.work.kind()),
        "asset": Some(letter.asset()).filter(|asset| !asset.is_empty()),
        "attempts": told.attempts,
        "crashes": told.crashes,
        "error": told.error,
        "exit": told.exit,
        "token": told.token,
        "reproducer": told.reproducer.as_deref().map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text))),
        "at": letter.at(),
        "body": letter.body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        assert_eq!([age(-5), age(59_999), age(60_000)], ["0 s", "59 s", "1 min"]);
        assert_eq!([age(7_200_000), age(3 * 86_400_000)], ["2 h", "3 d"]);
    }
}
