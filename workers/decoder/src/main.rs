//! The decoder's executable: a zygote that forks one jailed child per request.

use std::process::ExitCode;

fn main() -> ExitCode {
    let status = reelfleet_decoder::zygote::run(reelfleet_decoder::prepare, reelfleet_decoder::serve);
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}
