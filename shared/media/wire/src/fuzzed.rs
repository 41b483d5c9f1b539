//! What holds of the frames for any bytes at all. Compiled for tests and for fuzzing alone (`fuzz/`).

use crate::zygote::{Command, Report, decode};
use crate::{
    FRAME_HEAD_LEN, FrameHead, READ_AT_LEN, REPLY_HEAD_LEN, ReadAt, ReadStatus, ReplyHead, encode_request, read_output,
    read_reply, read_request, write_output,
};

#[cfg(test)]
#[path = "../../../../fuzz/replay.rs"]
mod replay;

/// Whatever comes over a descriptor is a value or an error; what is read is written as it was.
pub fn frames(data: &[u8]) {
    if let Ok(request) = read_request(&mut &data[..]) {
        let _ = request.validate();
        let bytes = encode_request(&request).unwrap_or_else(|error| panic!("{error}: {request:?}"));
        assert_eq!(read_request(&mut bytes.as_slice()).ok(), Some(request));
    }
    let mut from = data;
    while let Ok(Some((header, body))) = read_output(&mut from) {
        let mut bytes = Vec::new();
        // A number of JSON may be one that it can't say again (an infinite rate); then it is an error as well.
        if write_output(&mut bytes, &header, &body).is_ok()
            && let Ok(again) = read_output(&mut bytes.as_slice())
        {
            assert_eq!(again.map(|(_, body)| body), Some(body));
        }
    }
    let _ = (decode::<Command>(data), decode::<Report>(data));
    if let Some(head) = data.first_chunk::<READ_AT_LEN>()
        && let Ok(ask) = ReadAt::from_bytes(*head)
    {
        assert_eq!(ask.to_bytes(), *head);
        let answer = data.get(READ_AT_LEN..).unwrap_or_default();
        if let Some(head) = answer.first_chunk::<REPLY_HEAD_LEN>()
            && let Ok(reply) = ReplyHead::from_bytes(*head, ask)
        {
            assert_eq!(reply.to_bytes(), *head);
        }
        let mut bytes = Vec::new();
        // Only an answer that really came costs its memory.
        if ask.len <= 1 << 16
            && let Ok(status) = read_reply(&mut &answer[..], ask, &mut bytes)
        {
            assert_eq!(bytes.len(), if status == ReadStatus::Ok { ask.len as usize } else { 0 });
        }
    }
    if let Some(head) = data.first_chunk::<FRAME_HEAD_LEN>()
        && let Ok(frame) = FrameHead::from_bytes(*head)
    {
        assert_eq!(frame.to_bytes(), *head);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn frames() {
        super::replay::seeds("frames", super::frames);
    }
}
