//! Bodies of objects that come slowly, or not to their end.

use std::{io, time::Duration};

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use futures::{Stream, StreamExt as _, stream};

use crate::state::Response;

type Piece = Result<Bytes, axum::Error>;

/// A body and what is left of the piece that came last.
struct Left<S> {
    body: S,
    piece: Bytes,
}

impl<S: Stream<Item = Piece> + Unpin> Left<S> {
    /// The next bytes, `most` at most; `None` at the end.
    async fn take(&mut self, most: u64) -> Option<Piece> {
        while self.piece.is_empty() {
            match self.body.next().await? {
                Ok(piece) => self.piece = piece,
                Err(error) => return Some(Err(error)),
            }
        }
        let length = self.piece.remaining().min(usize::try_from(most).unwrap_or(usize::MAX));
        Some(Ok(self.piece.split_to(length)))
    }
}

/// The answer with a body of `bytes_per_s`, in ten pieces a second or one byte at a time.
pub(crate) fn slow(response: Response, bytes_per_s: u64) -> Response {
    let most = (bytes_per_s / 10).max(1);
    let pause = Duration::from_secs_f64(most as f64 / bytes_per_s.max(1) as f64);
    response.map(|body| {
        let left = Left { body: body.into_data_stream(), piece: Bytes::new() };
        let paced = stream::unfold(left, move |mut left| async move {
            let piece = left.take(most).await?;
            tokio::time::sleep(pause).await;
            Some((piece, left))
        });
        Body::from_stream(paced)
    })
}

/// The answer with a body that breaks off after `bytes`, or before its last byte if it is shorter.
pub(crate) fn truncate(response: Response, bytes: u64) -> Response {
    let length = response.headers().get(http::header::CONTENT_LENGTH);
    let length: u64 = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
    let bytes = bytes.min(length.saturating_sub(1));
    response.map(|body| {
        let left = Left { body: body.into_data_stream(), piece: Bytes::new() };
        let cut = stream::unfold(Some((left, bytes)), |left| async move {
            let (mut left, room) = left?;
            if room > 0 {
                let piece = left.take(room).await?;
                let taken = piece.as_ref().map_or(0, |piece| piece.len() as u64);
                return Some((piece, Some((left, room - taken))));
            }
            // What came before goes out first: a connection that fails is not flushed.
            tokio::task::yield_now().await;
            Some((Err(axum::Error::new(io::Error::other("cut off on purpose"))), None))
        });
        Body::from_stream(cut)
    })
}
