//! A reader of `tfdt` and `trun` that shares nothing with the writer: it finds what ffprobe hides.

fn boxes(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 8 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        assert!(length >= 8 && length <= rest.len(), "a box of {length} in {}", rest.len());
        all.push((&rest[4..8], &rest[8..length]));
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    all
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub struct Timeline {
    /// Decode time of the first sample.
    pub start: u64,
    /// Behind the last sample, in decode time.
    pub end: u64,
    /// Presentation times, sorted.
    pub times: Vec<i64>,
}

/// The first box on this path.
fn find<'b>(bytes: &'b [u8], path: &[&[u8; 4]]) -> Option<&'b [u8]> {
    let (first, rest) = path.split_first()?;
    let (_, body) = boxes(bytes).into_iter().find(|(kind, _)| kind == first)?;
    if rest.is_empty() { Some(body) } else { find(body, rest) }
}

/// What the edit list of a header takes from every presentation time: one edit to the end, at normal speed.
pub fn edit(header: &[u8]) -> i64 {
    let Some(elst) = find(header, &[b"moov", b"trak", b"edts", b"elst"]) else { return 0 };
    assert_eq!((be32(elst, 4), be32(elst, elst.len() - 4)), (1, 0x0001_0000));
    if elst[0] == 1 { i64::from_be_bytes(elst[16..24].try_into().unwrap()) } else { i64::from(be32(elst, 12) as i32) }
}

/// One segment of a track with this [`edit`]: `styp`, `moof` with one track fragment, `mdat` of exactly the sizes said.
pub fn timeline(segment: &[u8], edit: i64) -> Timeline {
    let top = boxes(segment);
    assert_eq!(top.iter().map(|b| b.0).collect::<Vec<_>>(), [b"styp", b"moof", b"mdat"]);
    let (mut start, mut decode, mut times, mut payload) = (0, 0, Vec::new(), 0);
    for (kind, traf) in boxes(top[1].1) {
        if kind != b"traf" {
            continue;
        }
        for (kind, body) in boxes(traf) {
            match kind {
                b"tfdt" => {
                    assert_eq!(body[0], 1);
                    start = u64::from_be_bytes(body[4..12].try_into().unwrap());
                    decode = start;
                }
                b"trun" => {
                    // Data offset always; flags of the first sample alone, or of each.
                    let flags = be32(body, 0);
                    assert_eq!(flags & !0x0100_0404, 0x0000_0b01);
                    let (first, each) = (flags & 0x004 != 0, flags & 0x400 != 0);
                    assert!(first != each);
                    let data = be32(body, 8) as usize;
                    let moof_and_head = segment.len() - top[0].1.len() - 8 - top[2].1.len();
                    assert_eq!(data, moof_and_head);
                    let (head, fields) = if each { (12, 4) } else { (16, 3) };
                    let first_flags = be32(body, if each { head + 8 } else { 12 });
                    assert_eq!(first_flags, 0x0200_0000, "starts with a sync sample");
                    for sample in body[head..].chunks_exact(4 * fields) {
                        let offset = be32(sample, 4 * (fields - 1)) as i32;
                        assert!(offset >= 0, "FFmpeg knows no negative offsets");
                        times.push(decode as i64 + i64::from(offset) - edit);
                        decode += u64::from(be32(sample, 0));
                        payload += be32(sample, 4) as usize;
                    }
                    assert_eq!(times.len(), be32(body, 4) as usize);
                }
                _ => {}
            }
        }
    }
    assert_eq!(payload, top[2].1.len());
    times.sort_unstable();
    Timeline { start, end: decode, times }
}
