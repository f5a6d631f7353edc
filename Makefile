# `make test` is the whole gate: what CI runs, and all that CI runs.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
.DEFAULT_GOAL := help
.PHONY: help build test tools fmt lint unit notebook clients conformance package demo demo-build bench fuzz docs

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## Build the command
	cargo build --release

test: tools fmt lint unit notebook clients conformance ## Install what the tests use, then run everything

tools: ## Install what the tests use and this machine lacks
	.ci/install

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets -- --deny warnings

unit: ## Run the tests in Rust
	cargo test --workspace

notebook: .venv/ready ## Run the notebook and the readers of other languages on recordings made now
	cargo build
	MEMSAMPLE=$(TARGET_DIR)/debug/memsample .venv/bin/pytest --quiet notebooks/tests

clients: .venv/ready ## Run the clients of the daemon with the tools that they are for
	cargo build
	.venv/bin/pip install --quiet --disable-pip-version-check ./clients/pytest-memsample
	MEMSAMPLED=$(TARGET_DIR)/debug/memsampled .venv/bin/pytest --quiet clients/pytest-memsample/tests clients/nextest/tests

conformance: .venv-conformance/ready ## Hold the daemon to docs/openapi.yaml, for a minute
	cargo build
	memsampled/tests/conformance/run $(TARGET_DIR)/debug/memsampled $(CURDIR)/.venv-conformance/bin

.venv-conformance/ready: memsampled/tests/conformance/requirements.txt
	python3 -m venv --clear .venv-conformance
	.venv-conformance/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.venv/ready: notebooks/requirements.txt
	python3 -m venv --clear .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement notebooks/requirements.txt
	touch $@

demo: ## Run a small suite of which most tests go wrong, each in a way of its own
	cargo run --quiet --release --bin memsample -- run demo/suite.toml || test $$? -eq 10

demo-build: .venv/ready ## Record a real build at 10 Hz and ask DuckDB about it
	cargo build --release
	demo/run $(TARGET_DIR)/release/memsample

bench: ## Run all benchmarks (half an hour, on an otherwise idle machine) and keep what they print
	benches/run

fuzz: ## Fuzz one target: make fuzz TARGET=stat SECONDS=60
	RUSTC_BOOTSTRAP=1 cargo fuzz run --target-dir $(TARGET_DIR)/fuzz $(TARGET) -- -max_total_time=$(or $(SECONDS),60)

package: ## Build the Debian package, install, run and purge it (needs cargo-deb, and root)
	memsampled/debian/build
	memsampled/debian/try target/debian/memsampled_*.deb

docs: ## Write docs/schema.md anew
	cargo run --quiet --bin memsample -- schema > docs/schema.md
