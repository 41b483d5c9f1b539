//! A decoder that does wrong, in the product's own jail: what it may not do is stopped, what goes wrong in it is told,
//! and a place where no jail can be closed is refused before any media is touched.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reelfleet_media::wire::{FailCode, MediaLimits, Request};
use reelfleet_media::{Clocks, DecodeError, DecoderConfig, Decoders, MediaError, Source};

/// The example `faulty` of the decoder, which does what a source tells it to.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        // Beside the decoder that whoever runs the tests has built; else it is built now.
        if let Some(decoder) = std::env::var_os("REELFLEET_DECODER").map(PathBuf::from) {
            let faulty = decoder.with_file_name("examples").join("faulty");
            if faulty.exists() {
                return faulty;
            }
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "reelfleet-decoder", "--example", "faulty"]);
        assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(), "it does not build");
        let me = std::env::current_exe().unwrap();
        me.parent().and_then(|deps| deps.parent()).unwrap().join("examples/faulty")
    };
    PROGRAM.get_or_init(build).clone()
}

fn decoders() -> Decoders {
    Decoders::start(DecoderConfig { program: Some(program()), no_progress: Some(Duration::from_millis(500)) }).unwrap()
}

/// How a decoder ends that is asked for a probe of this.
async fn probe(decoders: &Decoders, source: String, clocks: Clocks) -> DecodeError {
    let source = Source::from_bytes(Bytes::from(source));
    let request = Request::Probe { size: source.size, limits: MediaLimits::default() };
    let mut session = decoders.open(request, source, clocks).await.unwrap();
    loop {
        match session.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it was done"),
            Err(error) => return error,
        }
    }
}

async fn fault(decoders: &Decoders, what: &str) -> DecodeError {
    probe(decoders, format!("FAULT:probe:{what}; and so on"), Clocks::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decoder_that_was_taken_over_is_stopped_whatever_it_tries() {
    let decoders = decoders();
    let (refused, killed) = ((None, Some(libc::EPERM)), (Some(libc::SIGSYS), None));
    for (what, end) in [
        ("open", refused),
        ("create", refused),
        ("environ", refused),
        ("socket", refused),
        ("connect", killed),
        ("exec", refused),
        ("fork", killed),
        ("ptrace", refused),
        ("readv", killed),
        ("killer", refused),
    ] {
        match fault(&decoders, what).await {
            DecodeError::Crashed { signal, exit, .. } => assert_eq!((signal, exit), end, "{what}"),
            other => panic!("{what}: {other}"),
        }
    }
    assert!(!std::path::Path::new("/tmp/reelfleet-escape").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_decoder_is_told_as_what_it_is() {
    let decoders = decoders();
    for (what, end) in [
        ("segv", (Some(libc::SIGSEGV), None)),
        ("abort", (Some(libc::SIGABRT), None)),
        ("panic", (None, Some(101))),
        ("exit", (None, Some(3))),
        // As the kernel does where memory is short.
        ("kill", (Some(libc::SIGKILL), None)),
        // As an allocation does that the limit refuses.
        ("memory", (Some(libc::SIGABRT), None)),
    ] {
        match fault(&decoders, what).await {
            DecodeError::Crashed { signal, exit, stderr_tail } => {
                assert_eq!((signal, exit), end, "{what}: {stderr_tail}");
                assert_eq!(stderr_tail.contains("memory allocation"), what == "memory", "{what}: {stderr_tail}");
            }
            other => panic!("{what}: {other}"),
        }
    }
    // It sleeps, it is busy, and it says that it moves and does not: all the same.
    for what in ["hang", "spin", "flood"] {
        let error = fault(&decoders, what).await;
        assert!(matches!(error, DecodeError::Stalled { .. }), "{what}: {error}");
    }
    let error = fault(&decoders, "nonsense").await;
    assert!(matches!(error, DecodeError::Protocol(_)), "{error}");
    let wall = Clocks { wall: Duration::from_millis(200), ..Clocks::default() };
    let error = probe(&decoders, "FAULT:any:spin;".into(), wall).await;
    assert!(matches!(error, DecodeError::TimedOut { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decoder_that_hangs_or_dies_delays_no_other() {
    let decoders = decoders();
    let bad: Vec<_> = ["hang", "segv", "kill", "memory"]
        .map(|what| {
            let decoders = decoders.clone();
            tokio::spawn(async move { fault(&decoders, what).await })
        })
        .into();
    let began = Instant::now();
    for _ in 0..10 {
        let error = probe(&decoders, "just text, ".repeat(50), Clocks::default()).await;
        assert!(matches!(error, DecodeError::Refused { code: FailCode::NotMedia, .. }), "{error}");
    }
    println!("10 neighbours in {:?}", began.elapsed());
    for bad in bad {
        assert!(!matches!(bad.await.unwrap(), DecodeError::Refused { .. }));
    }
}

/// Sets a filter around this thread and all that it starts, as a container's profile might.
fn without_seccomp() {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    let mode = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::PR_SET_SECCOMP as u64);
    let by_prctl = SeccompRule::new(vec![mode.unwrap()]).unwrap();
    let denied = [(libc::SYS_seccomp, Vec::new()), (libc::SYS_prctl, vec![by_prctl])].into();
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(denied, SeccompAction::Allow, eperm, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

#[test]
fn no_seccomp_no_start() {
    let program = Some(program());
    let started = std::thread::spawn(move || {
        without_seccomp();
        Decoders::start(DecoderConfig { program, ..DecoderConfig::default() })
    });
    match started.join().unwrap() {
        Err(error @ MediaError::Jail(_)) => {
            let text = error.to_string();
            assert!(text.contains("seccomp filters can't be set here") && text.contains("without"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_of_the_jail_is_a_metric_and_so_are_crashes() {
    let metrics = reelfleet_telemetry::Metrics::install().unwrap();
    let decoders = decoders();
    fault(&decoders, "segv").await;
    let text = metrics.render();
    let level = text.lines().find(|line| line.starts_with("reelfleet_jail_level{")).expect("no level");
    assert!(level.contains("seccomp=\"full\"") && level.ends_with(" 1"), "{level}");
    let abi = text.lines().find_map(|line| line.strip_prefix("reelfleet_jail_landlock_abi ")).expect("no version");
    let (said, none) = (decoders.jail().await, level.contains("landlock=\"none\""));
    assert_eq!(none, abi == "0", "{level}, {abi}");
    assert!(said.starts_with("seccomp") && (none || said.contains(&format!("Landlock ABI {abi}"))), "{said}");
    assert!(text.contains("reelfleet_decoder_crashes_total{op=\"probe\",cause=\"signal\"} 1"), "{text}");
}
