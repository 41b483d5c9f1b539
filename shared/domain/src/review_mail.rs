//! The words of the mails that ask for a verdict.
//!
//! Guarantee: one link, without a verdict in it; the code stands in the text, outside of every URL.

use std::fmt::Write as _;

/// Why it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It has just been uploaded.
    Asked,
    /// Nobody has decided yet.
    Reminded,
    /// Nobody has decided for twice as long.
    Escalated,
    /// It expired, and its uploader asks again.
    Again,
}

/// What the mail tells.
#[derive(Debug, Clone, Copy)]
pub struct ReviewMail<'r> {
    /// Why it is written.
    pub occasion: Occasion,
    /// The asset's name for people.
    pub name: &'r str,
    /// Who uploaded it.
    pub owner: &'r str,
    /// Bytes.
    pub bytes: u64,
    /// A still image has none.
    pub duration_ms: Option<u64>,
    /// Approvals that are needed.
    pub votes: u8,
    /// The personal link.
    pub link: &'r str,
    /// The personal code.
    pub code: &'r str,
    /// Until when both are good: RFC 3339.
    pub until: &'r str,
}

impl ReviewMail<'_> {
    /// One line.
    pub fn subject(&self) -> String {
        let what = match self.occasion {
            Occasion::Asked => "Please review",
            Occasion::Reminded => "Still waiting for your review",
            Occasion::Escalated => "Nobody has reviewed yet",
            Occasion::Again => "Please review after all",
        };
        format!("{what}: {}", self.name)
    }

    /// Plain text.
    pub fn text(&self) -> String {
        let name: String = self.name.chars().filter(|c| !c.is_control()).collect();
        let mut text = match self.occasion {
            Occasion::Asked => "Something was uploaded that waits for a verdict.\n\n".to_owned(),
            Occasion::Reminded => "An upload still waits for a verdict.\n\n".to_owned(),
            Occasion::Escalated => {
                "An upload waits for a verdict, and its reviewers have not given one.\n\n".to_owned()
            }
            Occasion::Again => "Nobody reviewed an upload in time. Its uploader asks again.\n\n".to_owned(),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  Name      {name}\n  Uploader  {}\n  Size      {}", self.owner, size(self.bytes));
        if let Some(ms) = self.duration_ms {
            let _ = writeln!(text, "  Length    {}:{:02}", ms / 60_000, ms / 1_000 % 60);
        }
        if self.votes > 1 {
            let _ = writeln!(text, "  Needed    {} approvals", self.votes);
        }
        let _ = write!(
            text,
            "\nReview it here (opening the page decides nothing):\n\n{}\n\nYour code: {}\n\n\
             The page asks for the code when you approve or reject. Link and code are\n\
             yours alone: do not forward this mail. They are good until\n{},\nor until somebody else has decided.\n",
            self.link, self.code, self.until
        );
        text
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1_000.0 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_holds_one_link_and_the_code_outside_of_it() {
        let mail = ReviewMail {
            occasion: Occasion::Asked,
            name: "holiday\n.mp4",
            owner: "ann",
            bytes: 12_345_678,
            duration_ms: Some(125_000),
            votes: 2,
            link: "https://reel.example/review/0123",
            code: "042137",
            until: "2026-12-01T00:00:00Z",
        };
        let text = mail.text();
        assert_eq!(text.matches("https://").count(), 1);
        assert!(text.contains("\nhttps://reel.example/review/0123\n"), "{text}");
        assert!(text.contains("\nYour code: 042137\n"), "{text}");
        assert!(text.contains("holiday.mp4\n") && text.contains("12.3 MB") && text.contains("2:05"), "{text}");
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(1_500_000_000_000_000), "1500.0 TB");
    }
}
