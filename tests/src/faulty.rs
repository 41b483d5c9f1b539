//! A decoder with a fault that a test sets and takes away: the real program, in its real jail, with a library before
//! FFmpeg's that misbehaves in one of its calls.
//!
//! Guarantee: each child looks at the fault as it is forked, before its jail closes, so a change counts for the next
//! attempt without a restart; without a fault the decoder is the one under test, untouched.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::root;

/// Where it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Whatever opens media: probing, indexing, encoding, pictures of a film.
    Open,
    /// An encoder that gives out its first packet: chunks and sound, never a probe or a poster.
    Encode,
    /// The scaling of a picture: posters and storyboards, nothing that an asset needs.
    Pictures,
}

/// What the decoder does there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Writes to address 0: SIGSEGV.
    Crash,
    /// Computes for ever.
    Hang,
    /// Allocates and touches memory until there is none, then aborts.
    Memory,
}

/// The wrapper: give [`Faulty::program`] to a fleet as `REELFLEET_DECODER`.
pub struct Faulty {
    folder: TempDir,
}

impl Faulty {
    /// A wrapper without a fault. It needs `cc`, as every Rust build does.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        std::fs::write(at("fault.c"), SOURCE.replace("{FAULT}", &text(&at("fault")))).unwrap();
        let built = std::process::Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([at("fault.so"), at("fault.c")])
            .args(["-ldl", "-lpthread"])
            .status()
            .unwrap();
        assert!(built.success(), "cc: {built}");
        let decoder = std::env::var_os("REELFLEET_DECODER")
            .map_or_else(|| root().join("target/debug/reelfleet-decoder"), PathBuf::from);
        let script = format!("#!/bin/sh\nLD_PRELOAD='{}' exec '{}'\n", text(&at("fault.so")), text(&decoder));
        std::fs::write(at("decoder"), script).unwrap();
        std::fs::set_permissions(at("decoder"), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// What the fleet is to run.
    pub fn program(&self) -> String {
        self.folder.path().join("decoder").to_str().unwrap().to_owned()
    }

    /// From the next attempt on.
    pub fn set(&self, stage: Stage, fault: Fault) {
        let stage = match stage {
            Stage::Open => "open",
            Stage::Encode => "encode",
            Stage::Pictures => "pictures",
        };
        let fault = match fault {
            Fault::Crash => "crash",
            Fault::Hang => "hang",
            Fault::Memory => "memory",
        };
        let fresh = self.folder.path().join("fault.new");
        std::fs::write(&fresh, format!("{stage} {fault}")).unwrap();
        std::fs::rename(fresh, self.folder.path().join("fault")).unwrap();
    }

    /// As if FFmpeg had been built without a codec, from the next start of a decoder on.
    pub fn without(&self, codec: &str) {
        std::fs::write(self.folder.path().join("fault.without"), codec).unwrap();
    }

    /// The cause is gone, from the next attempt on.
    pub fn clear(&self) {
        std::fs::remove_file(self.folder.path().join("fault")).unwrap();
    }
}

impl Default for Faulty {
    fn default() -> Self {
        Self::new()
    }
}

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fault[32];
static char without[64];
static const void *(*find_decoder)(const char *);
static const void *(*find_encoder)(const char *);
static int (*open_input)(void **, const char *, const void *, void **);
static int (*receive_packet)(void *, void *);
static void *(*get_context)(int, int, int, int, int, int, int, void *, void *, const double *);

/* In the child, right after the fork: its jail is not closed yet. */
static void look(void) {
    memset(fault, 0, sizeof fault);
    int file = open("{FAULT}", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, fault, sizeof fault - 1) < 0) fault[0] = 0;
        close(file);
    }
}

__attribute__((constructor)) static void begin(void) {
    int file = open("{FAULT}.without", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, without, sizeof without - 1) < 0) without[0] = 0;
        close(file);
    }
    find_decoder = dlsym(RTLD_NEXT, "avcodec_find_decoder_by_name");
    find_encoder = dlsym(RTLD_NEXT, "avcodec_find_encoder_by_name");
    open_input = dlsym(RTLD_NEXT, "avformat_open_input");
    receive_packet = dlsym(RTLD_NEXT, "avcodec_receive_packet");
    get_context = dlsym(RTLD_NEXT, "sws_getContext");
    pthread_atfork(0, 0, look);
}

static void at(const char *stage) {
    if (strncmp(fault, stage, strlen(stage))) return;
    const char *kind = fault + strlen(stage);
    if (!strcmp(kind, "crash")) *(volatile int *)0 = 1;
    if (!strcmp(kind, "hang")) for (volatile int go = 1; go;) {}
    if (!strcmp(kind, "memory")) for (;;) {
        char *more = malloc(16 << 20);
        if (!more) abort();
        memset(more, 1, 16 << 20);
    }
}

const void *avcodec_find_decoder_by_name(const char *name) {
    return strcmp(name, without) ? find_decoder(name) : 0;
}

const void *avcodec_find_encoder_by_name(const char *name) {
    return strcmp(name, without) ? find_encoder(name) : 0;
}

int avformat_open_input(void **context, const char *url, const void *format, void **options) {
    at("open ");
    return open_input(context, url, format, options);
}

int avcodec_receive_packet(void *context, void *packet) {
    at("encode ");
    return receive_packet(context, packet);
}

void *sws_getContext(int w, int h, int from, int wide, int high, int to, int how, void *a, void *b, const double *c) {
    at("pictures ");
    return get_context(w, h, from, wide, high, to, how, a, b, c);
}
"#;
