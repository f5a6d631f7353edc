# `make test` is the whole gate: what CI runs, and all that CI runs. `make check` is what a developer runs before a commit.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
# Where `make install` puts the programs, and the root in front of it for who makes a package.
PREFIX ?= /usr/local
DESTDIR ?=
# The cargo profile of what is installed. The gate installs what its tests have built: a release build would be a quarter of
# its time.
PROFILE ?= release
BUILT := $(TARGET_DIR)/$(PROFILE:dev=debug)
# Cargo features to build with, beside the default ones: `make install FEATURES=lab`.
FEATURES ?=
# With every feature. The tests are of all packages but the benchmarks, which `lint` checks: they have no tests, and
# dependencies that nothing else has.
EVERYTHING := --workspace --features memsampled/lab
TESTED := $(EVERYTHING) --exclude memsample-benches
# The programs that the tests in Python run: built as `integration` builds them, since with the features that the tests
# of the packages ask of dependencies `cargo build` would compile half of the tree a second time.
PROGRAMS := cargo test --quiet $(TESTED) --test end_to_end --no-run
# A gate tells of a change, and not of luck: its property tests use the same inputs each time. `make properties` searches.
# What is installed is compiled when it is imported, if it is.
test: export PIP_NO_COMPILE ?= 1
test check unit integration: export PROPTEST_RNG_SEED ?= 20261129
ROUNDS ?= 10
.DEFAULT_GOAL := help
.PHONY: help build install computed fetched compiled-tests device-programs device-programs-dev install-device-programs check test tools fmt lint ran ran-busy ran-idle unit layers bpf kernels doc msrv integration properties installed size notebook documents python-package clients script fleet fleet-tests fleet-package fleet-500 fleet-releases conformance package wheel demo demo-build bench fuzz fuzz-seeds docs

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: ## Build the programs
	cargo build --profile $(PROFILE) --package memsampled $(if $(FEATURES),--features $(FEATURES))

install: build ## Install the programs, their manual pages and completions below PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BUILT)/memsample $(BUILT)/memsampled $(DESTDIR)$(PREFIX)/bin
	.ci/documents $(BUILT) $(DESTDIR)$(PREFIX)/share

# What is built for nothing but to be run once by a test.
QUICK := $(foreach package,compare leaks,--config profile.dev.package.memsample-$(package).opt-level=0) \
  $(foreach part,debug debug-assertions overflow-checks,--config profile.dev.$(part)=false)
# Architectures of devices.
ARCHITECTURES ?= x86_64 aarch64

device-programs: ## Build the programs that are sent to devices, for each of ARCHITECTURES, into target/devices
	memsampled/remote/programs/build release $(ARCHITECTURES) -- --no-default-features

install-device-programs: device-programs ## Install them where `memsample run --on` looks for them
	install -d $(DESTDIR)$(PREFIX)/lib/memsample/devices
	install -m 755 $(ARCHITECTURES:%=$(TARGET_DIR)/devices/memsample-%) $(DESTDIR)$(PREFIX)/lib/memsample/devices

check: fmt lint unit layers ## Check format, lints, unit tests and layers, within a minute when warm

# First what computes, one after the other, while what the tests need is fetched. Then what runs the programs, of which a
# failure ends the gate when all the others have ended, so that one run of it shows every failure. Those of RUNNING keep two
# cores busy; LANES=2 runs two of them at once, which is for machines with more. Those of WAITING leave half of two cores
# idle, and run at once. Last the installations, since one of them installs the Debian package on this machine.
COMPUTED := fmt lint layers bpf doc msrv device-programs-dev compiled-tests
FETCHED := .venv-fleet/ready .venv/ready .venv-conformance/ready .venv-wheel/ready \
  memsampled/report/tests/browser/node_modules memsampled/serve/script/node_modules
RUNNING := integration fleet-tests notebook documents script
WAITING := conformance clients
AT_ONCE := $(MAKE) --no-print-directory --keep-going --output-sync=target
LANES ?= 1
test: tools ## Install what the tests use, then run everything
	$(MAKE) --no-print-directory --jobs=2 computed fetched
	$(MAKE) --no-print-directory --keep-going ran
	$(MAKE) --no-print-directory installed

ran: ran-busy ran-idle

ran-busy:
	$(if $(filter-out 1,$(LANES)),$(AT_ONCE),$(MAKE) --no-print-directory --keep-going) --jobs=$(LANES) $(RUNNING)

ran-idle:
	$(AT_ONCE) --jobs=2 $(WAITING)

computed:
	$(MAKE) --no-print-directory --jobs=1 $(COMPUTED)

fetched:
	$(MAKE) --no-print-directory --jobs=1 $(FETCHED)

compiled-tests:
	cargo test --quiet $(TESTED) --no-run

tools: ## Install what the tests use and this machine lacks
	.ci/install

fmt:
	cargo fmt --all --check

lint:
	cargo clippy $(EVERYTHING) --all-targets -- --deny warnings

unit: ## Run the unit tests, within seconds
	cargo test $(TESTED) --lib --bins

properties: ## Run the property tests ROUNDS times (10), each with a seed of its own, and stop at a counterexample
	set -e; for round in $$(seq $(ROUNDS)); do \
	  seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "round $$round of $(ROUNDS): PROPTEST_RNG_SEED=$$seed"; \
	  PROPTEST_RNG_SEED=$$seed cargo test $(TESTED) --lib --bins --test library --quiet; \
	done

layers: ## Hold the imports to the layers
	cargo test --quiet $(TESTED) --test layers

bpf: ## Build the BPF programs anew and compare them with what is committed
	memsample/bpf/program/build --check
	memsample/bpf/program/choice/check

# Images of kernels: KERNELS="vmlinuz-6.12 vmlinuz-7.3".
kernels: ## Read processes by BPF on other kernels, each in an emulated machine (needs qemu-system-x86, cpio)
	$(PROGRAMS)
	memsample/bpf/kernels/run $(TARGET_DIR)/debug/memsample \
	  "$$(cargo test --quiet $(TESTED) --test library --no-run --message-format=json | \
	    sed -n 's/.*"executable":"\([^"]*library-[^"]*\)".*/\1/p')" $(KERNELS)

# With the examples, since then the dependencies are those that `lint` has checked, and not ones with fewer features.
doc: ## Build the documentation; a warning is an error
	RUSTDOCFLAGS="--deny warnings" cargo doc $(EVERYTHING) --lib --examples --no-deps --document-private-items --quiet

msrv: ## Build on the oldest Rust version that Cargo.toml names, if it is installed
	.ci/msrv

# The end-to-end tests wait for programs more than they compute: three at once keep two cores busy.
integration: export RUST_TEST_THREADS ?= 3
integration: ## Run all tests in Rust
	cargo test $(TESTED)

installed: ## Try every way to install the programs, each in a clean environment (as root on Debian)
	.ci/installed

notebook: python-package memsampled/report/tests/browser/node_modules ## Run the notebooks, other readers and a browser on recordings made now
	$(PROGRAMS)
	MEMSAMPLE=$(TARGET_DIR)/debug/memsample .venv/bin/pytest --quiet --numprocesses 4 --dist worksteal notebooks/tests

size: build ## Check that the release programs are no larger than they may be
	.ci/size $(BUILT)/memsample $(BUILT)/memsampled

documents: python-package ## Type every command of the documents, and those of a stranger, in an empty home (as root)
	$(PROGRAMS)
	MEMSAMPLE_PROGRAMS=$(TARGET_DIR)/debug .venv/bin/pytest --quiet --numprocesses 3 docs/tests

python-package: .venv/ready
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall ./clients/python
	.venv/bin/pip install --quiet --disable-pip-version-check ./clients/pytest-memsample

clients: python-package ## Check and run the Python package, and run the clients of the daemon with the tools that they are for
	$(PROGRAMS)
	cd clients/python && ../../.venv/bin/ruff check && ../../.venv/bin/ruff format --check && ../../.venv/bin/mypy
	MEMSAMPLE=$(TARGET_DIR)/debug/memsample .venv/bin/pytest --quiet clients/python/tests
	MEMSAMPLED=$(TARGET_DIR)/debug/memsampled .venv/bin/pytest --quiet clients/pytest-memsample/tests clients/nextest/tests

.venv-fleet/ready: fleet/requirements.txt
	python3 -m venv --clear .venv-fleet
	.venv-fleet/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

fleet-package: .venv-fleet/ready
	.venv-fleet/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall ./fleet

fleet: device-programs-dev fleet-tests ## Check the package for many machines, and run it with a real broker and database

# Before `compiled-tests`: they are linked to the same name. That of this machine is what `installed` tries, linked
# otherwise, so it is built once for both. It has the default features, which `lint` does not check: the lints are held where
# all features are.
device-programs-dev:
	.ci/without-warnings memsampled/remote/programs/build dev x86_64
	memsampled/remote/programs/build dev aarch64 -- --no-default-features $(QUICK)

fleet-tests: fleet-package
	cd fleet && ../.venv-fleet/bin/ruff check && ../.venv-fleet/bin/ruff format --check && ../.venv-fleet/bin/mypy
	$(PROGRAMS)
	cd fleet && MEMSAMPLE=$(TARGET_DIR)/debug/memsample MEMSAMPLE_DEVICES=$(TARGET_DIR)/devices-dev \
	  ../.venv-fleet/bin/pytest --quiet --numprocesses 3 --dist worksteal

fleet-500: fleet-package ## Run 500 suites while workers, broker, database and network die, for five minutes
	$(PROGRAMS)
	cd fleet && FLEET_RUNS=500 MEMSAMPLE=$(TARGET_DIR)/debug/memsample ../.venv-fleet/bin/pytest --quiet -k each_run

fleet-releases: fleet-package ## Begin a release each minute for half an hour, while the beat is killed
	$(PROGRAMS)
	cd fleet && FLEET_RELEASES=30 FLEET_EVERY_S=60 MEMSAMPLE=$(TARGET_DIR)/debug/memsample ../.venv-fleet/bin/pytest --quiet -s -k steady_pace

conformance: .venv-conformance/ready ## Hold the daemon and the dashboard to their OpenAPI documents, for a minute and a half
	$(PROGRAMS)
	memsampled/tests/conformance/run $(TARGET_DIR)/debug $(CURDIR)/.venv-conformance/bin

.venv-conformance/ready: memsampled/tests/conformance/requirements.txt
	python3 -m venv --clear .venv-conformance
	.venv-conformance/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.venv/ready: notebooks/requirements.txt
	python3 -m venv --clear .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement notebooks/requirements.txt
	touch $@

script: memsampled/serve/script/node_modules ## Check the script of the dashboard, and that what is committed is made of it
	cd memsampled/serve/script && npm run --silent check
	rm -rf $(TARGET_DIR)/script && mkdir -p $(TARGET_DIR)/script
	cd memsampled/serve/script && OUT=$(TARGET_DIR)/script npm run --silent build -- --log-level=warning
	diff -q $(TARGET_DIR)/script/script.js memsampled/serve/src/pages/script.js
	diff -q $(TARGET_DIR)/script/script.css memsampled/serve/src/pages/script.css

memsampled/serve/script/node_modules: memsampled/serve/script/package-lock.json
	cd memsampled/serve/script && npm ci --silent --no-audit --no-fund
	touch $@

memsampled/report/tests/browser/node_modules: memsampled/report/tests/browser/package-lock.json
	cd memsampled/report/tests/browser && npm ci --silent --no-audit --no-fund
	touch $@

.venv-wheel/ready:
	python3 -m venv --clear .venv-wheel
	.venv-wheel/bin/pip install --quiet --disable-pip-version-check maturin==1.16.0 wheel==0.45.1
	touch $@

demo: ## Run a small suite of which most tests go wrong, each in a way of its own
	cargo run --quiet --bin memsample -- run demo/suite.toml || test $$? -eq 10

demo-build: .venv/ready ## Record a real build at 10 Hz and ask DuckDB about it
	cargo build --release
	demo/run $(TARGET_DIR)/release/memsample

bench: ## Run all benchmarks (half an hour, on an otherwise idle machine) and keep what they print
	benches/run

fuzz: ## Fuzz one target: make fuzz TARGET=stat SECONDS=60
	CARGO_PROFILE_RELEASE_LTO=off RUSTC_BOOTSTRAP=1 cargo fuzz run --target-dir $(TARGET_DIR)/fuzz $(TARGET) -- -max_total_time=$(or $(SECONDS),60)

fuzz-seeds: ## Write anew the seeds that depend on the version of the journal
	cargo run --quiet --package memsample-fuzz --example seeds

package: ## Build the Debian package into target/debian
	memsampled/debian/build

# Stripped here: maturin would link both programs once more to strip them, one after the other.
wheel: .venv-wheel/ready build ## Build a wheel that carries the programs into target/wheels
	rm -rf $(TARGET_DIR)/wheels $(TARGET_DIR)/wheel
	.venv-wheel/bin/maturin build --profile $(PROFILE) --quiet --manifest-path memsampled/Cargo.toml --out $(TARGET_DIR)/wheel
	.venv-wheel/bin/wheel unpack --dest $(TARGET_DIR)/wheel $(TARGET_DIR)/wheel/memsampled-*.whl >/dev/null
	strip $(TARGET_DIR)/wheel/memsampled-*/memsampled-*.data/scripts/*
	mkdir $(TARGET_DIR)/wheels
	.venv-wheel/bin/wheel pack --dest $(TARGET_DIR)/wheels $(TARGET_DIR)/wheel/memsampled-*/ >/dev/null

docs: ## Write docs/schema.md anew
	cargo run --quiet --bin memsample -- schema > docs/schema.md
