# What can be done here. `make test` installs by itself what the tests need (Debian or Ubuntu).
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help build test test-fleet soak soak-fleet lint tools image bench bench-core instructions instructions-baseline growth flame fleet load load-admin events large attack fuzz deny sbom reproducible clients clients-document

help: ## This list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

build: ## The release binary.
	$(CARGO) build --release --locked

tools: ## What the tests drive: curl, strace, Python with requests and httpx, Node with axios and undici, git, Chromium.
	scripts/test-tools

test: tools ## All tests: rooms, the house, and the real binary with real clients.
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --no-fail-fast; \
	else \
		$(CARGO) test --locked --no-fail-fast; \
	fi

test-fleet: ## The tests of a store that many nodes share, on clusters of etcd on loopback; installs etcd and protoc (Debian or Ubuntu).
	scripts/test-tools fleet
	$(CARGO) clippy --locked --features etcd --lib --test it -- -D warnings
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --no-fail-fast --features etcd -E 'test(fleet::) or test(etcd)'; \
	else \
		$(CARGO) test --locked --no-fail-fast --features etcd --lib --test it -- fleet:: etcd; \
	fi

soak: tools ## The long half: every byte of a store, hundreds of kills, thousands of lost pages, twenty takeovers, three minutes of everything at once (SUBROSA_SOAK_MINUTES). About 25 minutes.
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		SUBROSA_SOAK=1 $(CARGO) nextest run --locked --no-fail-fast -E 'binary(it) and (test(store::) or test(takeover::) or test(soak::))'; \
	else \
		SUBROSA_SOAK=1 $(CARGO) test --locked --no-fail-fast --test it store:: takeover:: soak::; \
	fi

soak-fleet: ## The long half of test-fleet: members and nodes are killed under load, for twenty seeds. About six minutes.
	scripts/test-tools fleet
	$(CARGO) test --locked --features etcd --test it -- --include-ignored --nocapture fleet::chaos::

clients: ## Every client of the matrix, those beyond `make test` too; installs what is missing.
	scripts/test-tools clients
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --no-fail-fast --run-ignored all -E 'binary(it) and test(clients::)'; \
	else \
		$(CARGO) test --locked --no-fail-fast --test it clients:: -- --include-ignored; \
	fi

clients-document: ## Writes docs/clients.md from the matrix.
	SUBROSA_WRITE_CLIENTS=1 $(CARGO) test --quiet --locked --test it clients::document

lint: ## Format, clippy and documentation, warnings are errors.
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet

image: ## What can be run of the Dockerfile without an engine.
	scripts/test-tools fleet
	scripts/check-dockerfile

bench: ## subrosa beside no proxy, HAProxy, squid and mitmproxy where they are installed; writes docs/performance.md.
	scripts/bench 2 3

bench-core: ## Criterion benches: the injection core by content, and each piece of the road.
	scripts/bench-core

instructions: tools ## Instructions of the road's functions and of whole requests, against benches/instructions.json (callgrind).
	scripts/instructions

instructions-baseline: tools ## Writes benches/instructions.json anew.
	scripts/instructions --write

growth: ## How cost grows with secrets, references, bodies, hosts, runners, tunnels, workers; writes docs/charts and docs/performance.md.
	scripts/growth

flame: ## Where the time of an intercepted request goes: docs/charts/flame-https.svg (needs perf).
	scripts/flame

fleet: ## How long a change on one node of a fleet takes to rule another; writes docs/fleet.md (needs etcd).
	scripts/fleet

load-admin: ## The door for people with thousands of secrets, a burst of creates, and the road beside it.
	scripts/load-admin

load: build ## Requests per second, p99 and CPU per 10,000 requests, beside the same load without a proxy.
	scripts/load

events: ## How much later an event of a stream comes through interception.
	scripts/events

attack: ## Floods, bombs, slow and idle clients, beside somebody who must not notice; writes docs/reliability.md.
	scripts/attack

large: ## A large upload and download through interception: seconds, CPU, and the most memory held.
	scripts/large

fuzz: ## Each fuzz target for half a minute (needs a nightly toolchain and cargo-fuzz).
	scripts/fuzz

deny: ## Licences, sources and bans of the dependencies; builds cargo-deny below target/tools the first time, which takes minutes.
	@command -v cargo-deny >/dev/null || test -x target/tools/bin/cargo-deny || $(CARGO) install --locked --root target/tools cargo-deny
	PATH="$$PATH:$$PWD/target/tools/bin" $(CARGO) deny check bans licenses sources

sbom: ## What the release is made of (CycloneDX), in target/subrosa.cdx.json.
	scripts/sbom

reproducible: ## Builds the release of the last commit in two directories: one commit, one binary.
	scripts/reproducible
