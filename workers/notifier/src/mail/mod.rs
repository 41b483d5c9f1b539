//! Mails to one person each, by SMTP.
//!
//! Guarantees:
//! - a mail leaves at least once, and while the server says "later" (4xx, or nothing at all) it is tried again until it
//!   is out of date; what the server refuses for good (no such mailbox) is given up at once;
//! - one attempt is one lease: several notifiers send beside each other, and one that dies holds nothing up;
//! - every attempt of a mail carries the same Message-ID;
//! - uploaders are told what became of their uploads, once, many files in one mail ([`notices`]), and, if they want
//!   that, once a week ([`weekly`]);
//! - whoever subscribed to the topic of mails is told what happened ([`topic`]), where that is turned on;
//! - without a server nothing is lost or sent: rows wait as `unsent`, and one warning says so.

mod letter;
mod notices;
mod server;
#[cfg(test)]
mod tests;
mod topic;
mod weekly;

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use reelfleet_catalog::mail::Mail;
use reelfleet_catalog::{Catalog, CatalogError};
use reelfleet_fleet::Context;
use reelfleet_fleet::clock::millis;
use reelfleet_fleet::health::Beat;
use reelfleet_telemetry::MailAttempted;
use tokio::time::{MissedTickBehavior, timeout};

pub use server::{SmtpServer, SmtpServerError};

/// A lease; longer than an attempt may take.
const LEASE: Duration = Duration::from_secs(90);
/// An attempt: connecting, greeting, handing over.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Mails that are sent beside each other.
const TOGETHER: i64 = 4;
/// Waits before the second, third … attempt; the last one goes on until the mail is out of date.
const PAUSES_S: [u64; 6] = [5, 30, 120, 600, 1_800, 3_600];
/// Without a server, this often somebody looks whether mails wait.
const LOOK: Duration = Duration::from_secs(30);

/// Sends what is due.
pub(crate) struct Sender {
    context: Context,
    catalog: Catalog,
    office: Office,
}

/// The way out of one mail.
struct Office {
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Attempted {
    Sent,
    /// Another attempt may fare better.
    Later(String),
    /// No other attempt will.
    Never(String),
}

impl Sender {
    pub(crate) fn new(context: &Context, catalog: &Catalog, server: &SmtpServer, from: Mailbox) -> Self {
        let office = Office { from, transport: server.transport(ATTEMPT) };
        Self { context: context.clone(), catalog: catalog.clone(), office }
    }

    /// Until the process drains; a batch that has begun is finished.
    pub(crate) async fn run(self, every: Duration, beat: Beat) {
        let draining = self.context.shutdown.draining().clone();
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => break,
                _ = tick.tick() => beat.tick(),
            }
            // A full batch may have more behind it.
            while !draining.is_cancelled() {
                match self.batch().await {
                    Ok(TOGETHER) => beat.tick(),
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "mails that are due can't be read");
                        break;
                    }
                }
            }
        }
        beat.end();
    }

    /// Answers how many were tried.
    async fn batch(&self) -> Result<i64, CatalogError> {
        let due = self.catalog.lease_mail(&self.context.step(), millis(LEASE), TOGETHER).await?;
        let tried = due.len() as i64;
        for settled in futures::future::join_all(due.iter().map(|mail| self.one(mail))).await {
            settled?;
        }
        Ok(tried)
    }

    async fn one(&self, mail: &Mail) -> Result<(), CatalogError> {
        let attempted = self.office.attempt(mail).await;
        let now = self.context.clock.now_ms();
        let (outcome, detail) = match &attempted {
            Attempted::Sent => ("sent", ""),
            Attempted::Later(why) => ("put_off", why.as_str()),
            Attempted::Never(why) => ("given_up", why.as_str()),
        };
        let id = mail.id.to_string();
        MailAttempted { id: &id, kind: &mail.kind, attempt: mail.attempt, outcome, detail }.emit();
        match attempted {
            Attempted::Sent => self.catalog.mail_sent(now, mail).await,
            Attempted::Later(why) => {
                let next = now.saturating_add(pause_ms(mail.attempt, self.context.ids.unit()));
                self.catalog.mail_failed(now, mail, Some(next), &why).await
            }
            Attempted::Never(why) => self.catalog.mail_failed(now, mail, None, &why).await,
        }
    }
}

impl Office {
    async fn attempt(&self, mail: &Mail) -> Attempted {
        let message = match letter::compose(mail, &self.from) {
            Ok(message) => message,
            Err(why) => return Attempted::Never(why),
        };
        match timeout(ATTEMPT, self.transport.send(message)).await {
            Ok(Ok(_)) => Attempted::Sent,
            Ok(Err(error)) => {
                let code = error.status().map(|status| status.to_string());
                let why = chain(&error);
                if code.as_deref().is_some_and(is_final) { Attempted::Never(why) } else { Attempted::Later(why) }
            }
            Err(_) => Attempted::Later(format!("the server did not take it within {} s", ATTEMPT.as_secs())),
        }
    }
}

/// Another process that was first has told it.
fn first(told: Result<(), CatalogError>) -> Result<(), CatalogError> {
    match told {
        Err(error) if error.is_conflict() => Ok(()),
        other => other,
    }
}

/// Writes to uploaders, until the process drains.
pub(crate) async fn tell_uploaders(context: Context, catalog: Catalog, every: Duration) {
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.draining().cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        for weekly in [false, true] {
            loop {
                let round = if weekly {
                    weekly::round(&context, &catalog).await
                } else {
                    notices::round(&context, &catalog).await
                };
                match round {
                    Ok(true) if !context.shutdown.draining().is_cancelled() => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "uploaders can't be told now");
                        break;
                    }
                }
            }
        }
    }
}

/// Writes to the subscribers of the topic of mails, until the process drains.
pub(crate) async fn tell_subscribers(context: Context, catalog: Catalog, every: Duration) {
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.draining().cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        loop {
            match topic::round(&context, &catalog).await {
                Ok(true) if !context.shutdown.draining().is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "subscribers can't be told now");
                    break;
                }
            }
        }
    }
}

/// Says once that mails wait for a server that nobody configured.
pub(crate) async fn warn_without_server(context: Context, catalog: Catalog) {
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.draining().cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if let Ok(waiting @ 1..) = catalog.unsent_mail().await {
            tracing::warn!(
                waiting,
                "mails wait, and no server is configured: set REELFLEET_SMTP_URL and REELFLEET_MAIL_FROM"
            );
            return;
        }
    }
}

/// Refusals of this mail or mailbox. A refusal of us (authentication, policy) may be mended by an operator.
fn is_final(code: &str) -> bool {
    matches!(code, "501" | "510" | "511" | "550" | "551" | "552" | "553" | "554" | "555")
}

/// Before attempt `attempt + 1`; a half of it is jitter.
fn pause_ms(attempt: i64, random: f64) -> i64 {
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(PAUSES_S.len() - 1);
    let pause = PAUSES_S.get(index).copied().unwrap_or(3_600) as f64 * 1_000.0;
    (pause * (0.5 + random.clamp(0.0, 1.0) / 2.0)) as i64
}

/// An error and what caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
