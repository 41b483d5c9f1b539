//! A client's session: who it is, what it may hear, what it missed. The same for both transports.
//!
//! Guarantee: `welcome` comes first; then, per stream, what was missed in order, then what happens. Positions of another
//! epoch, ahead of the stream, or older than the log are answered by `reset`, never by a silent gap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use axum::http::{HeaderMap, header};
use reelfleet_access::{AccessError, Principal, Topic, tickets, topics};
use reelfleet_fleet::full_jitter;
use reelfleet_messages::realtime::ServerFrame;

use crate::frame;
use crate::hub::{Hub, Place, Seat};
use crate::queue::{End, Entry, Outbound};
use crate::stream::{self, Member, Stream};
use crate::watch::Watch;

/// Topics of one connection.
const MAX_TOPICS: usize = 64;
/// Clients of a draining process come back spread over this time.
const SPREAD: Duration = Duration::from_secs(10);
/// A slow client comes back after up to this.
const SLOW: Duration = Duration::from_secs(2);

/// What a client wants to hear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The epoch of `since`.
    pub epoch: Option<String>,
    /// The last position seen, by stream.
    pub since: BTreeMap<String, i64>,
    /// Topics; `me` if there are none.
    pub topics: Vec<String>,
}

/// Why a client is not let in.
#[derive(Debug)]
pub enum Refusal {
    /// No credential, or a bad one.
    Unauthenticated,
    /// A topic that is not the caller's, or a scope that it lacks.
    Forbidden(String),
    /// More topics than one connection may have: at most so many.
    TooManyTopics(usize),
    /// Too many connections of this user.
    TooMany,
    /// The process ends.
    Draining,
    /// It could not be found out.
    Internal(String),
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Unauthenticated => Self::Unauthenticated,
            AccessError::ScopeMissing(_) | AccessError::NotYours => Self::Forbidden(error.to_string()),
            AccessError::Catalog(error) => Self::Internal(error.to_string()),
        }
    }
}

/// What a client shows.
pub(crate) enum Credential {
    /// Single use, from `POST /v1/realtime/tickets`.
    Ticket(String),
    /// An API key, by a program that can set headers.
    Key(String),
}

impl Credential {
    /// The ticket of the query, or the bearer of the Authorization header.
    pub(crate) fn of_request(ticket: Option<String>, headers: &HeaderMap) -> Option<Self> {
        let bearer = || {
            let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| Self::Key(token.trim().to_owned()))
        };
        ticket.map(Self::Ticket).or_else(bearer)
    }

    /// Whose it is. A ticket is used up by this.
    pub(crate) async fn verify(&self, hub: &Hub, origin: Option<&str>) -> Result<Principal, Refusal> {
        let shared = &hub.0;
        let who = match self {
            Self::Ticket(text) => {
                let op = format!("ticket/{}", shared.ids.token());
                tickets::redeem(&shared.catalog, shared.clock.now_ms(), text, origin, &op).await
            }
            Self::Key(text) => shared.keys.verify(shared.clock.now_ms(), text).await,
        };
        who.map_err(Refusal::from)
    }
}

/// The `Origin` header of a request, if it has one.
pub(crate) fn origin(headers: &HeaderMap) -> Option<String> {
    // A header that is no text is no origin that a ticket was drawn by.
    headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("null").to_owned())
}

/// An open session. Dropping it leaves its streams and frees its place.
pub(crate) struct Session {
    /// For logs on both sides.
    pub(crate) id: String,
    /// What is to be sent.
    pub(crate) queue: Arc<Outbound>,
    /// Where the client stands when it has seen `welcome`, by stream.
    pub(crate) positions: BTreeMap<String, i64>,
    _seats: Vec<Seat>,
    _place: Place,
    _watch: Watch,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Before the seats go: a replay that is still under way takes no part in a stream from now on, and ends.
        self.queue.end(End::Gone);
    }
}

/// Opens a session; `welcome` is the first entry of its queue.
pub(crate) async fn open(hub: &Hub, who: Principal, wish: Wish) -> Result<Session, Refusal> {
    if hub.0.draining.is_cancelled() {
        return Err(Refusal::Draining);
    }
    let place = hub.place(&who.tenant, &who.owner).ok_or(Refusal::TooMany)?;
    let topics = topics_of(hub, &who, &wish.topics).await?;
    let (id, who) = (hub.0.ids.uuid().simple().to_string(), Arc::new(who));
    let queue = Arc::new(Outbound::default());
    let member_id = hub.next_id();
    let watch = hub.watch(member_id, &who, &queue);
    let same_epoch = wish.epoch.as_deref().is_none_or(|epoch| epoch == hub.0.epoch);
    let mut opened = Opened { resumed: !wish.since.is_empty(), ..Opened::default() };
    for (topic, name) in topics {
        let seat = hub.enter(&name, member_id).await.map_err(|error| Refusal::Internal(error.to_string()))?;
        let Some(stream) = seat.stream().cloned() else { continue };
        let since = wish.since.get(&name).copied();
        let from = match since {
            None => Ok((stream.position(), stream.position())),
            Some(_) if !same_epoch => Err("epoch_changed"),
            Some(since) => {
                let bounds = hub.0.catalog.stream_bounds(&name).await;
                let (head, oldest) = bounds.map_err(|error| Refusal::Internal(error.to_string()))?;
                resume(since, head, oldest).map(|since| (since, head))
            }
        };
        let (from, position) = from.unwrap_or_else(|reason| {
            let position = stream.position();
            opened.resumed = false;
            let (stream, reason) = (name.clone(), reason.to_owned());
            opened.resets.push(ServerFrame::Reset { stream, reason, position });
            (position, position)
        });
        opened.seen.insert(name.clone(), from);
        opened.positions.insert(name, position);
        let member = Member { id: member_id, topic, who: who.clone(), queue: queue.clone() };
        opened.follows.push((stream, member, from));
        opened.seats.push(seat);
    }
    let welcome = ServerFrame::Welcome {
        epoch: hub.0.epoch.clone(),
        positions: opened.positions,
        resumed: opened.resumed,
        heartbeat_ms: hub.0.settings.heartbeat_seconds.saturating_mul(1_000),
        session: id.clone(),
    };
    for frame in std::iter::once(&welcome).chain(&opened.resets) {
        queue.push(Entry::Frame(frame::text(frame)));
    }
    // Its handle is not kept: it would keep the task's memory for the life of the connection.
    tokio::spawn(catch_up(hub.clone(), opened.follows));
    Ok(Session { id, queue, positions: opened.seen, _seats: opened.seats, _place: place, _watch: watch })
}

#[derive(Default)]
struct Opened {
    resumed: bool,
    positions: BTreeMap<String, i64>,
    seen: BTreeMap<String, i64>,
    resets: Vec<ServerFrame>,
    follows: Vec<(Arc<Stream>, Member, i64)>,
    seats: Vec<Seat>,
}

/// The streams of the topics, each once, all of them the caller's.
async fn topics_of(hub: &Hub, who: &Principal, wanted: &[String]) -> Result<Vec<(Topic, String)>, Refusal> {
    if wanted.len() > MAX_TOPICS {
        return Err(Refusal::TooManyTopics(MAX_TOPICS));
    }
    let me = ["me".to_owned()];
    let mut found = Vec::new();
    for text in if wanted.is_empty() { &me[..] } else { wanted } {
        let (topic, name) = topics::stream_of(&hub.0.catalog, who, text).await?;
        if !found.iter().any(|(_, other)| *other == name) {
            found.push((topic, name));
        }
    }
    Ok(found)
}

/// From where a client goes on that has seen everything up to `since`, in a stream that stands at `head` and whose log
/// begins at `oldest`.
fn resume(since: i64, head: i64, oldest: i64) -> Result<i64, &'static str> {
    if since > head {
        // Nobody was given a position that was not yet: it is of another log.
        return Err("epoch_changed");
    }
    if since.saturating_add(1) < oldest {
        return Err("too_old");
    }
    Ok(since)
}

/// Stream after stream, so that one slow client holds one replay.
async fn catch_up(hub: Hub, follows: Vec<(Arc<Stream>, Member, i64)>) {
    for (stream, member, from) in follows {
        if let Err(error) = stream::follow(&stream, hub.log(), &hub.0.replays, &member, from).await {
            tracing::warn!(stream = stream.name(), %error, "a client could not be given what it missed");
            member.queue.end(End::Internal);
            return;
        }
    }
}

/// The goodbye for an end, and when to come back. Nothing is said of our own faults.
pub(crate) fn goodbye(end: End) -> Option<(Utf8Bytes, Duration)> {
    let (code, spread) = match end {
        End::Slow => ("slow_consumer", SLOW),
        End::Draining => ("draining", SPREAD),
        End::Over => ("unauthenticated", SLOW),
        End::Internal | End::Gone => return None,
    };
    let after = full_jitter(spread, spread, 0);
    Some((bye(code, after), after))
}

pub(crate) fn bye(code: &str, after: Duration) -> Utf8Bytes {
    let retry_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    frame::text(&ServerFrame::Bye { code: code.to_owned(), retry_after_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_that_cannot_be_continued_are_told_apart() {
        assert_eq!(resume(3, 10, 4), Ok(3));
        assert_eq!(resume(2, 10, 4), Err("too_old"));
        assert_eq!(resume(10, 10, 11), Ok(10), "everything was seen, and trimmed");
        assert_eq!(resume(0, 0, 1), Ok(0), "an empty stream");
        assert_eq!(resume(11, 10, 4), Err("epoch_changed"));
        assert_eq!(resume(i64::MAX, i64::MAX, 4), Ok(i64::MAX));
        assert_eq!(resume(-5, 10, 1), Err("too_old"));
    }

    #[test]
    fn a_ticket_goes_before_a_key() {
        let mut headers = HeaderMap::new();
        assert!(Credential::of_request(None, &headers).is_none());
        headers.insert(header::AUTHORIZATION, "bearer  rf_1".parse().unwrap());
        assert!(matches!(Credential::of_request(None, &headers), Some(Credential::Key(key)) if key == "rf_1"));
        assert!(matches!(Credential::of_request(Some("rt_1".into()), &headers), Some(Credential::Ticket(_))));
        headers.insert(header::AUTHORIZATION, "Basic eA==".parse().unwrap());
        assert!(Credential::of_request(None, &headers).is_none());
    }

    #[test]
    fn a_goodbye_says_when_to_come_back() {
        let (text, after) = goodbye(End::Draining).unwrap();
        let ServerFrame::Bye { code, retry_after_ms } = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!((code.as_str(), u128::from(retry_after_ms)), ("draining", after.as_millis()));
        assert!(after <= SPREAD && goodbye(End::Internal).is_none());
    }
}
