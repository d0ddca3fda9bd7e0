# What a contributor types. Needs Rust, Go and what Debian has; everything else is built into a cache outside the clone.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(GANTRY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gantry)
DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo-deny/$(DENY_VERSION)/bin/cargo-deny
MDBOOK_VERSION := 0.5.4
MDBOOK := $(CACHE)/mdbook/$(MDBOOK_VERSION)/bin/mdbook
SBOM_VERSION := 0.10.0
SBOM := $(CACHE)/cargo-sbom/$(SBOM_VERSION)/bin/cargo-sbom
AUDITABLE_VERSION := 0.7.7
AUDITABLE := $(CACHE)/cargo-auditable/$(AUDITABLE_VERSION)/bin/cargo-auditable
TOOLS = GANTRY_TOOLS="$$(tests/tools/build.sh)"

.PHONY: help build image rootfs sbom tools tools-node test test-node demo demo-cluster bench bench-solve faults soak site lint fmt clippy doors generated deny

help: ## Show this text
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

build: ## Build the operator and the CLI (release)
	cargo build --release -p gantry-operator -p gantry-cli

image: ## Build the image "gantry" for this machine's architecture (needs docker, or ENGINE=podman)
	$(or $(ENGINE),docker) build --tag $(or $(IMAGE),gantry) --build-arg AUDITABLE=$(AUDITABLE_VERSION) .

rootfs: $(AUDITABLE) ## The same without a container engine: the image's root file system in target/rootfs
	PATH="$(dir $(AUDITABLE)):$$PATH" cargo auditable build --release --locked -p gantry-operator
	rm -rf "$${CARGO_TARGET_DIR:-target}/rootfs"
	deploy/image/rootfs.sh "$${CARGO_TARGET_DIR:-target}"/{rootfs,release/gantry-operator}

sbom: $(SBOM) ## Write what the operator is made of to target/gantry-operator.cdx.json (CycloneDX)
	mkdir -p "$${CARGO_TARGET_DIR:-target}"
	$(SBOM) --cargo-package gantry-operator --output-format cyclone_dx_json_1_6 >"$${CARGO_TARGET_DIR:-target}/gantry-operator.cdx.json"

tools: ## Build etcd, the Kubernetes control plane, kubectl, helm and registries for tests (once, about 10 minutes)
	@tests/tools/build.sh

tools-node: ## Also what a whole node needs: kubelet, containerd, CoreDNS, Debian's runc and others (needs root and Linux)
	@tests/tools/build.sh --node

test: ## Run all tests that need no root, on a real API server and real registries; builds the tools first
	@$(TOOLS) && export GANTRY_TOOLS && cargo test --workspace --no-fail-fast

# One at a time: a node is a whole machine's work. Some of them start several, and look at what the machine has.
test-node: ## Run the tests on a whole node with pods (needs root and Linux); builds the tools first
	@GANTRY_TOOLS="$$(tests/tools/build.sh --node)" && export GANTRY_TOOLS && \
	cargo test --workspace --test e2e -- --include-ignored --test-threads=1 node::

# A debug build: a third of the time of a release build, and its hot loops are optimised (see Cargo.toml).
demo: ## Show on a real API server what Gantry does; DEMO_EXIT=1 ends it at the end, GANTRY_CORPUS gives it real CRDs
	@$(TOOLS) && export GANTRY_TOOLS && \
	cargo build -p gantry-operator -p gantry-cli -p gantry-tests --bin gantry-operator --bin gantry --bin gantry-demo && \
	exec "$${CARGO_TARGET_DIR:-target}/debug/gantry-demo"

demo-cluster: ## The same on a whole node, with the operator installed by Helm (needs root and Linux)
	@GANTRY_TOOLS="$$(tests/tools/build.sh --node)" && export GANTRY_TOOLS && \
	cargo build -p gantry-operator -p gantry-cli -p gantry-tests --bin gantry-operator --bin gantry --bin gantry-demo && \
	exec "$${CARGO_TARGET_DIR:-target}/debug/gantry-demo" --cluster

# One cargo command, so that all are built with the same features of what they share.
bench: ## Measure, beside a bare client, and write BENCHMARKS.md; GANTRY_CORPUS names the CRDs
	@$(TOOLS) && export GANTRY_TOOLS && \
	cargo build --release -p gantry-operator -p gantry-cli -p gantry-tests --bin gantry-operator --bin gantry --bin gantry-bench && \
	exec "$${CARGO_TARGET_DIR:-target}/release/gantry-bench"

bench-solve: ## Measure how long it takes to choose versions, and print that section of BENCHMARKS.md
	cargo bench --quiet -p gantry-solve --bench solver

# Debug builds, for the time that they save; what is measured is whether sizes grow.
faults: ## Let everything go wrong that the table has (hours) and write docs/reliability.md; FAULTS_ARGS narrows it
	@$(TOOLS) && export GANTRY_TOOLS && \
	cargo build -p gantry-operator -p gantry-tests --bin gantry-operator --bin gantry-faults && \
	exec "$${CARGO_TARGET_DIR:-target}/debug/gantry-faults" $(FAULTS_ARGS)

soak: ## Churn packages, tags, revisions and faults for SOAK_MINUTES (30), by SOAK_SEED; ends with a verdict
	@$(TOOLS) && export GANTRY_TOOLS && \
	cargo build -p gantry-operator -p gantry-tests --bin gantry-operator --bin gantry-soak && \
	exec "$${CARGO_TARGET_DIR:-target}/debug/gantry-soak"

site: $(MDBOOK) ## Make the documentation's site from docs/, in target/site
	$(MDBOOK) build docs --dest-dir "$$(realpath -m "$${CARGO_TARGET_DIR:-target}/site")"

lint: fmt clippy doors generated deny ## Check format, clippy, doors between crates, generated files, licences and sources

fmt: ## Check the format
	cargo fmt --all --check

clippy: ## Check with clippy; a warning is an error
	cargo clippy --workspace --all-targets -- -D warnings

doors: ## Check that crates use only the crates that they may use
	cargo xtask doors

generated: ## Check that generated files are up to date
	cargo xtask gen --check

deny: $(DENY) ## Check licences, sources and duplicates of dependencies
	$(DENY) --config .cargo/deny.toml check bans licenses sources

# Outside the target folder of this workspace, whose dependencies they do not share. Fast enough without optimisation.
# Their folder is on the PATH, so that cargo does not advise to put it there.
$(DENY):
	PATH="$(@D):$$PATH" cargo install --locked --debug --root $(CACHE)/cargo-deny/$(DENY_VERSION) cargo-deny@$(DENY_VERSION)

# Only to build pages: neither watching files nor serving them.
$(MDBOOK):
	PATH="$(@D):$$PATH" cargo install --locked --debug --no-default-features --features search \
	  --root $(CACHE)/mdbook/$(MDBOOK_VERSION) mdbook@$(MDBOOK_VERSION)
$(SBOM):
	PATH="$(@D):$$PATH" cargo install --locked --debug --root $(CACHE)/cargo-sbom/$(SBOM_VERSION) cargo-sbom@$(SBOM_VERSION)
$(AUDITABLE):
	PATH="$(@D):$$PATH" cargo install --locked --debug --root $(CACHE)/cargo-auditable/$(AUDITABLE_VERSION) cargo-auditable@$(AUDITABLE_VERSION)
