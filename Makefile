# What a contributor types. Needs Rust, Go and what Debian has; everything else is built into a cache outside the clone.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(GANTRY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gantry)
DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo-deny/$(DENY_VERSION)/bin/cargo-deny
TOOLS = GANTRY_TOOLS="$$(tests/tools/build.sh)"

.PHONY: help build tools test demo bench lint

help: ## Show this text
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: ## Build the operator and the CLI (release)
	cargo build --release -p gantry-operator -p gantry-cli

tools: ## Build etcd, the Kubernetes control plane, kubectl and registries for tests (once, about 10 minutes)
	@tests/tools/build.sh

test: ## Run all tests, on a real API server and real registries; builds the tools first
	@$(TOOLS) && export GANTRY_TOOLS && cargo test --workspace

demo: build ## Show on a real API server what Gantry does; DEMO_EXIT=1 ends it at the end, GANTRY_CORPUS gives it real CRDs
	@$(TOOLS) && export GANTRY_TOOLS && cargo run --release -p gantry-tests --bin gantry-demo

bench: build ## Measure, beside a bare client, and write BENCHMARKS.md; GANTRY_CORPUS names the CRDs
	@$(TOOLS) && export GANTRY_TOOLS && cargo run --release -p gantry-tests --bin gantry-bench

lint: $(DENY) ## Check format, clippy, doors between crates, generated files, licences and sources
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo xtask doors
	cargo xtask gen --check
	$(DENY) --config .cargo/deny.toml check bans licenses sources

$(DENY):
	cargo install --locked --root $(CACHE)/cargo-deny/$(DENY_VERSION) cargo-deny@$(DENY_VERSION)
