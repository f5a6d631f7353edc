# `make test` is the whole gate: what CI runs, and all that CI runs.
.DEFAULT_GOAL := help
.PHONY: help build test tools fmt lint unit docs

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## Build the command
	cargo build --release

test: tools fmt lint unit ## Install what the tests use, then run everything

tools: ## Install what the tests use and this machine lacks
	.ci/install

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets -- --deny warnings

unit: ## Run the tests in Rust
	cargo test --workspace

docs: ## Write docs/schema.md anew
	cargo run --quiet --bin memsample -- schema > docs/schema.md
