# The two commands of a fresh machine: `make demo` and `make test`. Both install what is missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
DATA ?= .reelfleet/up
LISTEN ?= 127.0.0.1:8080
BIN := target/debug/reelfleet
MEDIA := .reelfleet/media/video.mp4
TINY := .reelfleet/media/tiny
SEED ?= 1
TARGET ?= notification
SECONDS ?= 60
ASSETS ?= 1000
KILLS ?= 200
EVERY_MS ?= 4000

.PHONY: help setup setup-test web screenshots build media demo up chaos test test-long terraform-check image-check fuzz bench check fmt clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## install what building and running needs (Debian packages)
	@scripts/setup.sh build

setup-test: setup ## install what the tests need besides
	@scripts/setup.sh test

web: ## build the web app: web/dist, which the executable embeds
	@scripts/web.sh build

build: setup web ## build the executables
	cargo build --locked -p reelfleet-cli -p reelfleet-decoder

$(MEDIA):
	@scripts/setup.sh media

media: $(MEDIA) ## a video of 30 s to try things with: .reelfleet/media/video.mp4

demo: build $(MEDIA) ## everything on one machine: a real video through the API, one through the bucket, to a player; KEEP=1 leaves it running
	$(BIN) demo --media $(MEDIA) $(if $(KEEP),--keep)

up: build ## keep it running: DATA=… LISTEN=…
	$(BIN) up --data $(DATA) --listen $(LISTEN)

chaos: setup-test build ## the long storm, judged: SEED=… ASSETS=… KILLS=… EVERY_MS=…
	scripts/tiny-media.sh $(TINY)
	$(BIN) chaos --assets $(ASSETS) --kills $(KILLS) --seed $(SEED) --every-ms $(EVERY_MS) --clients 8 --media $(TINY)

test: setup-test check ## all tests within their budget
	scripts/test.sh

test-long: setup-test ## what takes longer; its figures stand in docs/measurements.md
	scripts/test.sh long

terraform-check: build ## terraform/: format, validate, mocked apply, policies, sown mistakes; and what our endpoint serves, applied for real
	scripts/terraform.sh all

image-check: build ## docker/: the images built, run read-only and without root, and the compose file with a video
	scripts/image.sh

fuzz: setup ## one fuzz target, for a while: TARGET=… SECONDS=…; targets are in fuzz/fuzz_targets
	cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
	mkdir -p fuzz/corpus/$(TARGET)
	RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $(if $(filter $(TARGET),upload playback_path last_event_id),--features fleet) \
	    $(TARGET) fuzz/corpus/$(TARGET) fuzz/seeds/$(TARGET) -- -max_total_time=$(SECONDS) -timeout=5 -rss_limit_mb=2048

bench: setup web ## measure against what people use instead: docs/benchmarks.md; ONLY=rows ROUNDS=…
	@scripts/setup.sh bench
	cargo build --locked --release -p reelfleet-cli -p reelfleet-decoder -p reelfleet-bench
	bench/run.py $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS))

screenshots: build $(MEDIA) ## the two pictures that README shows: docs/screenshots
	@scripts/setup.sh test
	scripts/screenshots.sh $(MEDIA) docs/screenshots

check: setup-test web ## format, lints, types, arrows, licences, shell
	scripts/check.sh

fmt: ## format everything
	cargo fmt --all

clean: ## remove what was built and what runs left
	cargo clean
	rm -rf .reelfleet
