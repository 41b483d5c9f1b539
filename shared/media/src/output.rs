//! Reading a decoder's output pipe.
//!
//! Guarantee: memory grows with bytes that came, never with lengths announced; every frame has passed
//! [`Check`](crate::check::Check) before the consumer sees it.

use bytes::{Bytes, BytesMut};
use reelfleet_wire::{FRAME_HEAD_LEN, FrameHead, OutputHeader, Request, parse_output_header};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use crate::check::Check;
use crate::clocks::Meter;
use crate::error::DecodeError;

/// One thing that a decoder gave out.
#[derive(Debug, Clone)]
pub struct Output {
    /// What it is.
    pub header: OutputHeader,
    /// Its bytes; empty for reports.
    pub body: Bytes,
}

/// How the pipe ended, if not by an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// `Done` came and was handed on.
    Done,
    /// The pipe closed without it.
    Closed,
    /// Nobody wants the outputs any more.
    Dropped,
}

pub(crate) type Outputs = mpsc::Sender<Result<Output, DecodeError>>;

/// Hands frames on until `Done`, the end of the pipe, or an error.
pub(crate) async fn relay(
    mut pipe: impl AsyncRead + Unpin,
    request: &Request,
    cap: u64,
    to: &Outputs,
    meter: &Meter,
) -> Result<End, DecodeError> {
    let mut check = Check::new(request);
    let mut left = cap;
    let mut furthest = (i64::MIN, 0);
    loop {
        let Some(head) = frame_head(&mut pipe).await? else {
            return Ok(End::Closed);
        };
        let announced = u64::from(head.header) + u64::from(head.body);
        left = left.checked_sub(announced).ok_or(DecodeError::OutputLimit)?;
        // What a header says decides whether anything has moved; of a body every byte is a move.
        let Some(json) = exactly(&mut pipe, head.header, || {}).await else {
            return Ok(End::Closed);
        };
        let Some(body) = exactly(&mut pipe, head.body, || meter.progress()).await else {
            return Ok(End::Closed);
        };
        let mut header = parse_output_header(&json).map_err(|e| DecodeError::Protocol(e.to_string()))?;
        check.output(&mut header, body.len()).map_err(DecodeError::Protocol)?;
        match &header {
            OutputHeader::Failed { code, detail } => {
                return Err(DecodeError::Refused { code: *code, detail: detail.clone() });
            }
            // A decoder that keeps saying the same has not moved.
            OutputHeader::Progress(p) => {
                let now = (p.done_us, p.frames);
                if now > furthest {
                    furthest = now;
                    meter.progress();
                }
            }
            _ => meter.progress(),
        }
        let done = matches!(header, OutputHeader::Done { .. });
        if meter.outside(to.send(Ok(Output { header, body }))).await.is_err() {
            return Ok(End::Dropped);
        }
        if done {
            return Ok(End::Done);
        }
    }
}

async fn frame_head(pipe: &mut (impl AsyncRead + Unpin)) -> Result<Option<FrameHead>, DecodeError> {
    let mut head = [0; FRAME_HEAD_LEN];
    match pipe.read_exact(&mut head).await {
        Ok(_) => FrameHead::from_bytes(head).map(Some).map_err(|e| DecodeError::Protocol(e.to_string())),
        Err(_) => Ok(None),
    }
}

/// `len` bytes, or `None` where the pipe ends before. A decoder that dies within a frame has crashed, not cheated.
async fn exactly(pipe: &mut (impl AsyncRead + Unpin), len: u32, came: impl Fn()) -> Option<Bytes> {
    let mut bytes = BytesMut::with_capacity(len.min(64 << 10) as usize);
    let mut pipe = pipe.take(u64::from(len));
    while bytes.len() < len as usize {
        bytes.reserve(1); // doubles, so a body is copied a few times at most
        match pipe.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => came(),
        }
    }
    Some(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelfleet_wire::{FailCode, MediaLimits, write_output};

    fn request() -> Request {
        Request::Probe { size: 1, limits: MediaLimits::default() }
    }

    async fn relayed(bytes: &[u8], cap: u64) -> Result<End, DecodeError> {
        let (to, _from) = mpsc::channel(8);
        relay(bytes, &request(), cap, &to, &Meter::new()).await
    }

    #[tokio::test]
    async fn nonsense_is_an_error_or_an_end_never_a_panic() {
        let mut frame = Vec::new();
        write_output(&mut frame, &OutputHeader::Storyboard { cues: Vec::new() }, &[]).unwrap();
        assert!(matches!(relayed(&frame, 1 << 20).await, Err(DecodeError::Protocol(_))), "not asked for");
        for at in 0..frame.len() {
            for value in [0, 0x7f, 0xff] {
                let mut changed = frame.clone();
                changed[at] = value;
                let _ = relayed(&changed, 1 << 20).await;
            }
            assert!(matches!(relayed(&frame[..at], 1 << 20).await, Ok(End::Closed)), "cut at {at}");
        }
    }

    #[tokio::test]
    async fn the_cap_counts_what_is_announced() {
        let head = FrameHead { header: 2, body: 1000 };
        assert!(matches!(relayed(&head.to_bytes(), 1001).await, Err(DecodeError::OutputLimit)));
    }

    #[tokio::test]
    async fn a_refusal_ends_the_session() {
        let mut frame = Vec::new();
        let failed = OutputHeader::Failed { code: FailCode::NotMedia, detail: "text".into() };
        write_output(&mut frame, &failed, &[]).unwrap();
        let end = relayed(&frame, 1 << 20).await;
        assert!(matches!(end, Err(DecodeError::Refused { code: FailCode::NotMedia, .. })));
    }
}
