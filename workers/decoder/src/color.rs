//! Names of colour properties (ITU-T H.273), as FFmpeg spells them. A number without a name here is "unspecified".

/// H.273 table 3.
pub fn transfer(value: i32) -> Option<&'static str> {
    Some(match value {
        1 => "bt709",
        4 => "gamma22",
        5 => "gamma28",
        6 => "smpte170m",
        7 => "smpte240m",
        8 => "linear",
        11 => "iec61966-2-4",
        13 => "iec61966-2-1",
        14 => "bt2020-10",
        15 => "bt2020-12",
        PQ => "smpte2084",
        HLG => "arib-std-b67",
        _ => return None,
    })
}

/// H.273 table 2.
pub fn primaries(value: i32) -> Option<&'static str> {
    Some(match value {
        1 => "bt709",
        4 => "bt470m",
        5 => "bt470bg",
        6 => "smpte170m",
        7 => "smpte240m",
        8 => "film",
        9 => "bt2020",
        11 => "smpte431",
        12 => "smpte432",
        _ => return None,
    })
}

/// H.273 table 4.
pub fn matrix(value: i32) -> Option<&'static str> {
    Some(match value {
        0 => "gbr",
        1 => "bt709",
        4 => "fcc",
        5 => "bt470bg",
        6 => "smpte170m",
        7 => "smpte240m",
        8 => "ycgco",
        9 => "bt2020nc",
        10 => "bt2020c",
        _ => return None,
    })
}

pub fn range(value: i32) -> Option<&'static str> {
    match value {
        1 => Some("tv"),
        2 => Some("pc"),
        _ => None,
    }
}

/// SMPTE ST 2084.
pub const PQ: i32 = 16;
/// ARIB STD-B67.
pub const HLG: i32 = 18;

pub fn is_hdr(transfer: i32) -> bool {
    matches!(transfer, PQ | HLG)
}
