//! Bytes on the two descriptors. Every length is checked against its limit before anything is allocated for it.

use std::io::{self, Read, Write};

use crate::output::OutputHeader;
use crate::request::Request;

/// Largest JSON request (4-byte length + JSON).
pub const MAX_REQUEST: u32 = 1 << 20;
/// Most bytes one [`ReadAt`] may ask for.
pub const MAX_READ: u32 = 16 << 20;
/// Largest header JSON of an output frame; an index of 20 000 keyframes must fit.
pub const MAX_HEADER: u32 = 1 << 20;
/// Largest body of an output frame.
pub const MAX_BODY: u32 = 256 << 20;
/// Bytes of a [`ReadAt`]: offset u64, length u32.
pub const READ_AT_LEN: usize = 12;
/// Bytes of a [`ReplyHead`]: status u8, length u32.
pub const REPLY_HEAD_LEN: usize = 5;
/// Bytes of a [`FrameHead`]: header length u32, body length u32.
pub const FRAME_HEAD_LEN: usize = 8;

/// What the other side did wrong, or why the descriptor failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("descriptor: {0}")]
    Io(#[from] io::Error),
    #[error("{what} of {len} bytes; at most {max} are allowed")]
    TooLarge { what: &'static str, len: u64, max: u64 },
    #[error("a read of no bytes, or past the largest offset")]
    BadRange,
    #[error("status byte {0} means nothing")]
    BadStatus(u8),
    #[error("answer of {got} bytes where {asked} were asked")]
    WrongLength { asked: u32, got: u32 },
    #[error("{what} is not valid: {source}")]
    Json { what: &'static str, source: serde_json::Error },
}

fn limit(what: &'static str, len: u64, max: u32) -> Result<(), WireError> {
    if len > u64::from(max) {
        return Err(WireError::TooLarge { what, len, max: u64::from(max) });
    }
    Ok(())
}

/// A range of the source that the decoder wants. `len` is 1 to 16 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAt {
    pub offset: u64,
    pub len: u32,
}

impl ReadAt {
    pub fn to_bytes(self) -> [u8; READ_AT_LEN] {
        let mut out = [0; READ_AT_LEN];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..].copy_from_slice(&self.len.to_le_bytes());
        out
    }

    /// # Errors
    /// `BadRange` for no bytes or an end beyond `u64`, `TooLarge` above [`MAX_READ`]. That the range lies within the
    /// source is for the parent to check, which knows its size.
    pub fn from_bytes(bytes: [u8; READ_AT_LEN]) -> Result<Self, WireError> {
        let [o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, l2, l3] = bytes;
        let offset = u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        limit("read", u64::from(len), MAX_READ)?;
        if len == 0 || offset.checked_add(u64::from(len)).is_none() {
            return Err(WireError::BadRange);
        }
        Ok(Self { offset, len })
    }
}

/// How the parent answers a [`ReadAt`]. Only `Ok` carries bytes, and exactly as many as were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReadStatus {
    Ok = 0,
    /// The read failed. Never answered as an empty read: a broken connection must not look like the end of a film.
    IoError = 1,
    /// The object is no longer the one that was opened (`If-Match` failed).
    Changed = 2,
}

/// Head of the answer to a [`ReadAt`]: status u8, length u32, then the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    pub status: ReadStatus,
    pub len: u32,
}

impl ReplyHead {
    pub fn to_bytes(self) -> [u8; REPLY_HEAD_LEN] {
        let [a, b, c, d] = self.len.to_le_bytes();
        [self.status as u8, a, b, c, d]
    }

    /// # Errors
    /// `BadStatus`, or `WrongLength` where the length is not what `asked` allows.
    pub fn from_bytes(bytes: [u8; REPLY_HEAD_LEN], asked: ReadAt) -> Result<Self, WireError> {
        let [status, a, b, c, d] = bytes;
        let len = u32::from_le_bytes([a, b, c, d]);
        let (status, expected) = match status {
            0 => (ReadStatus::Ok, asked.len),
            1 => (ReadStatus::IoError, 0),
            2 => (ReadStatus::Changed, 0),
            other => return Err(WireError::BadStatus(other)),
        };
        if len != expected {
            return Err(WireError::WrongLength { asked: expected, got: len });
        }
        Ok(Self { status, len })
    }
}

/// Head of an output frame: length of the header JSON, length of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    pub header: u32,
    pub body: u32,
}

impl FrameHead {
    pub fn to_bytes(self) -> [u8; FRAME_HEAD_LEN] {
        let mut out = [0; FRAME_HEAD_LEN];
        out[..4].copy_from_slice(&self.header.to_le_bytes());
        out[4..].copy_from_slice(&self.body.to_le_bytes());
        out
    }

    /// # Errors
    /// `TooLarge` above [`MAX_HEADER`] or [`MAX_BODY`].
    pub fn from_bytes(bytes: [u8; FRAME_HEAD_LEN]) -> Result<Self, WireError> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let head = Self { header: u32::from_le_bytes([a, b, c, d]), body: u32::from_le_bytes([e, f, g, h]) };
        limit("header", u64::from(head.header), MAX_HEADER)?;
        limit("body", u64::from(head.body), MAX_BODY)?;
        Ok(head)
    }
}

/// The request as it goes over the socket: length u32, JSON.
///
/// # Errors
/// `TooLarge` above [`MAX_REQUEST`].
pub fn encode_request(request: &Request) -> Result<Vec<u8>, WireError> {
    let json = serde_json::to_vec(request).map_err(|source| WireError::Json { what: "request", source })?;
    limit("request", json.len() as u64, MAX_REQUEST)?;
    let mut out = Vec::with_capacity(json.len() + 4);
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    out.extend_from_slice(&json);
    Ok(out)
}

/// # Errors
/// `Json` where it is not a request.
pub fn parse_request(json: &[u8]) -> Result<Request, WireError> {
    serde_json::from_slice(json).map_err(|source| WireError::Json { what: "request", source })
}

/// # Errors
/// `Json` where it is not an output header.
pub fn parse_output_header(json: &[u8]) -> Result<OutputHeader, WireError> {
    serde_json::from_slice(json).map_err(|source| WireError::Json { what: "output header", source })
}

/// The JSON of a header, checked against [`MAX_HEADER`].
///
/// # Errors
/// `TooLarge`.
pub fn encode_output_header(header: &OutputHeader) -> Result<Vec<u8>, WireError> {
    let json = serde_json::to_vec(header).map_err(|source| WireError::Json { what: "output header", source })?;
    limit("header", json.len() as u64, MAX_HEADER)?;
    Ok(json)
}

/// # Errors
/// `TooLarge`, or `Io`.
pub fn write_request(to: &mut impl Write, request: &Request) -> Result<(), WireError> {
    to.write_all(&encode_request(request)?)?;
    Ok(to.flush()?)
}

/// # Errors
/// `Io` (also where the stream ends early), `TooLarge`, `Json`.
pub fn read_request(from: &mut impl Read) -> Result<Request, WireError> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let len = u32::from_le_bytes(head);
    limit("request", u64::from(len), MAX_REQUEST)?;
    parse_request(&read_vec(from, len)?)
}

/// # Errors
/// `Io`.
pub fn write_read_at(to: &mut impl Write, ask: ReadAt) -> Result<(), WireError> {
    Ok(to.write_all(&ask.to_bytes())?)
}

/// Reads the answer to `ask` into `buf`, which afterwards holds exactly `ask.len` bytes if the status is `Ok` and none
/// otherwise.
///
/// # Errors
/// `Io`, `BadStatus`, `WrongLength`.
pub fn read_reply(from: &mut impl Read, ask: ReadAt, buf: &mut Vec<u8>) -> Result<ReadStatus, WireError> {
    buf.clear();
    let mut head = [0; REPLY_HEAD_LEN];
    from.read_exact(&mut head)?;
    let head = ReplyHead::from_bytes(head, ask)?;
    buf.resize(head.len as usize, 0);
    from.read_exact(buf)?;
    Ok(head.status)
}

/// Answers a [`ReadAt`]: `Ok` with its bytes, or a status alone.
///
/// # Errors
/// `Io`; `TooLarge` where more than [`MAX_READ`] bytes are given.
pub fn write_reply(to: &mut impl Write, status: ReadStatus, bytes: &[u8]) -> Result<(), WireError> {
    limit("read", bytes.len() as u64, MAX_READ)?;
    let bytes = if status == ReadStatus::Ok { bytes } else { &[] };
    let head = ReplyHead { status, len: bytes.len() as u32 };
    to.write_all(&head.to_bytes())?;
    to.write_all(bytes)?;
    Ok(to.flush()?)
}

/// # Errors
/// `Io`, `TooLarge`.
pub fn write_output(to: &mut impl Write, header: &OutputHeader, body: &[u8]) -> Result<(), WireError> {
    let json = encode_output_header(header)?;
    limit("body", body.len() as u64, MAX_BODY)?;
    let head = FrameHead { header: json.len() as u32, body: body.len() as u32 };
    to.write_all(&head.to_bytes())?;
    to.write_all(&json)?;
    to.write_all(body)?;
    Ok(to.flush()?)
}

/// The next frame; `None` where the stream ends between two frames.
///
/// # Errors
/// `Io` (also where it ends within a frame), `TooLarge`, `Json`.
pub fn read_output(from: &mut impl Read) -> Result<Option<(OutputHeader, Vec<u8>)>, WireError> {
    let mut head = [0; FRAME_HEAD_LEN];
    let first = loop {
        match from.read(&mut head) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    if let Some(rest) = head.get_mut(first..) {
        from.read_exact(rest)?;
    }
    let head = FrameHead::from_bytes(head)?;
    let header = parse_output_header(&read_vec(from, head.header)?)?;
    let body = read_vec(from, head.body)?;
    Ok(Some((header, body)))
}

/// Reads exactly `len` bytes, growing with what really arrives: a head alone must not cost the memory it announces.
fn read_vec(from: &mut impl Read, len: u32) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(len.min(1 << 20) as usize);
    from.by_ref().take(u64::from(len)).read_to_end(&mut out)?;
    if out.len() != len as usize {
        return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailCode, IndexReport, MAX_KEYFRAMES, MediaLimits, SegmentInfo};

    fn header() -> OutputHeader {
        OutputHeader::Segment(SegmentInfo {
            rendition: "720p".into(),
            index: 3,
            start: 1_080_000,
            duration: 360_000,
            timescale: 90_000,
            frames: 96,
            independent: true,
        })
    }

    #[test]
    fn a_request_comes_back_as_it_went() {
        let request = Request::Probe { size: 7, limits: MediaLimits::default() };
        let mut bytes = Vec::new();
        write_request(&mut bytes, &request).unwrap();
        assert_eq!(read_request(&mut bytes.as_slice()).unwrap(), request);
    }

    #[test]
    fn output_frames_come_back_in_order_and_then_end() {
        let mut bytes = Vec::new();
        write_output(&mut bytes, &header(), b"body").unwrap();
        let failed = OutputHeader::Failed { code: FailCode::SourceChanged, detail: "gone".into() };
        write_output(&mut bytes, &failed, &[]).unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(read_output(&mut from).unwrap(), Some((header(), b"body".to_vec())));
        assert_eq!(read_output(&mut from).unwrap(), Some((failed, Vec::new())));
        assert_eq!(read_output(&mut from).unwrap(), None);
    }

    #[test]
    fn every_cut_of_a_frame_is_an_error() {
        let mut bytes = Vec::new();
        write_output(&mut bytes, &header(), b"body").unwrap();
        for cut in 1..bytes.len() {
            assert!(read_output(&mut &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn every_changed_byte_is_a_value_or_an_error() {
        let mut bytes = Vec::new();
        write_output(&mut bytes, &header(), b"body").unwrap();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = read_output(&mut changed.as_slice());
            }
        }
    }

    #[test]
    fn announced_lengths_above_the_limits_are_refused() {
        let body = FrameHead { header: 2, body: MAX_BODY + 1 };
        assert!(matches!(FrameHead::from_bytes(body.to_bytes()), Err(WireError::TooLarge { what: "body", .. })));
        let header = FrameHead { header: MAX_HEADER + 1, body: 0 };
        assert!(FrameHead::from_bytes(header.to_bytes()).is_err());
        let mut request = u32::MAX.to_le_bytes().to_vec();
        request.extend_from_slice(b"{}");
        assert!(matches!(read_request(&mut request.as_slice()), Err(WireError::TooLarge { .. })));
    }

    #[test]
    fn a_large_announcement_costs_no_memory_until_it_arrives() {
        let head = FrameHead { header: 2, body: MAX_BODY };
        let mut bytes = head.to_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        assert!(read_output(&mut bytes.as_slice()).is_err());
    }

    #[test]
    fn reads_are_bounded_and_never_empty() {
        let ask = |offset, len| ReadAt::from_bytes(ReadAt { offset, len }.to_bytes());
        assert!(ask(0, 0).is_err());
        assert!(ask(0, MAX_READ + 1).is_err());
        assert!(ask(u64::MAX, 1).is_err());
        assert_eq!(ask(9, MAX_READ).unwrap(), ReadAt { offset: 9, len: MAX_READ });
    }

    #[test]
    fn an_answer_has_exactly_what_was_asked_or_a_status() {
        let ask = ReadAt { offset: 4, len: 3 };
        let mut buf = Vec::new();
        let mut bytes = Vec::new();
        write_reply(&mut bytes, ReadStatus::Ok, b"abc").unwrap();
        assert_eq!(read_reply(&mut bytes.as_slice(), ask, &mut buf).unwrap(), ReadStatus::Ok);
        assert_eq!(buf, b"abc");

        let mut short = Vec::new();
        write_reply(&mut short, ReadStatus::Ok, b"ab").unwrap();
        assert!(matches!(
            read_reply(&mut short.as_slice(), ask, &mut buf),
            Err(WireError::WrongLength { asked: 3, got: 2 })
        ));

        for status in [ReadStatus::IoError, ReadStatus::Changed] {
            let mut bytes = Vec::new();
            write_reply(&mut bytes, status, b"never sent").unwrap();
            assert_eq!(read_reply(&mut bytes.as_slice(), ask, &mut buf).unwrap(), status);
            assert!(buf.is_empty());
        }
        assert!(matches!(ReplyHead::from_bytes([9, 0, 0, 0, 0], ask), Err(WireError::BadStatus(9))));
    }

    #[test]
    fn the_largest_index_fits_a_header() {
        let report = IndexReport {
            seekable: true,
            keyframes_us: vec![12 * 3_600_000_000; MAX_KEYFRAMES],
            ..IndexReport::default()
        };
        assert!(encode_output_header(&OutputHeader::Indexed(report)).is_ok());
    }
}
