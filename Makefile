# The two commands of a fresh machine: `make demo` and `make test`. Both install what is missing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
DATA ?= .reelfleet/up
LISTEN ?= 127.0.0.1:8080
BIN := target/debug/reelfleet
MEDIA := .reelfleet/media/video.mp4

.PHONY: help setup setup-test build demo up test test-long check fmt clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## install what building and running needs (Debian packages)
	@scripts/setup.sh build

setup-test: setup ## install what the tests need besides
	@scripts/setup.sh test

build: setup ## build the executables
	cargo build --locked -p reelfleet-cli -p reelfleet-decoder

$(MEDIA):
	@scripts/setup.sh media

demo: build $(MEDIA) ## everything on one machine: a real video through the API, one through the bucket, to a player
	$(BIN) demo --media $(MEDIA)

up: build ## keep it running: DATA=… LISTEN=…
	$(BIN) up --data $(DATA) --listen $(LISTEN)

test: setup-test check ## all tests within their budget
	scripts/test.sh

test-long: setup-test ## what takes longer; its figures stand in docs/measurements.md
	scripts/test.sh long

check: setup-test ## format, lints, arrows, licences, shell
	scripts/check.sh

fmt: ## format everything
	cargo fmt --all

clean: ## remove what was built and what runs left
	cargo clean
	rm -rf .reelfleet
