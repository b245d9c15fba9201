# Targets for people; each does its own set-up on a fresh Debian machine and says so.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run test model lint docs bench bench-peers soak dist clean

# Outside the checkout, so that it survives a fresh clone and is shared by all of them.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/tidemill/target

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## check the Rust toolchain, install missing Debian packages
	@deploy/setup.sh

model: ## fetch the encoder into models/, hash-checked, if it is not there
	@deploy/fetch-model.sh

run: setup model ## build and run the daemon with the sample feed; Ctrl-C drains and stops
	@echo "make run: building the release binary in $(CARGO_TARGET_DIR) (minutes the first time)"
	@cargo build --release --locked --bin tidemill
	@exec "$(CARGO_TARGET_DIR)/release/tidemill" run -c config/default.toml --sample

test: setup model ## all tests, after getting the services that they start
	@deploy/testenv/setup.sh
	@echo "make test: building and running all tests in $(CARGO_TARGET_DIR) (minutes the first time)"
	@cargo test --locked

lint: setup ## formatting, clippy, licences and sources of dependencies, what is deployed
	@cargo fmt --check
	@cargo clippy --locked --all-targets -- -D warnings
	@deploy/deny.sh
	@deploy/lint.sh

docs: setup ## generate the pages and the default file that come from the code
	@cargo build --locked --bin tidemill
	@deploy/generate.sh "$(CARGO_TARGET_DIR)/debug/tidemill"

bench: setup model ## own benchmarks
	@cargo build --release --locked --bin tidemill
	@TIDEMILL_TEST_BINARY="$(CARGO_TARGET_DIR)/release/tidemill" cargo bench --locked

bench-peers: setup model ## side by side with peers
	@deploy/bench-peers.sh

soak: setup model ## long chaos run: faults, kill -9, long outages; backtests beside vectorbt (TIDEMILL_SOAK_{DOCUMENTS,KILLS,OUTAGE_SECONDS})
	@deploy/testenv/setup.sh
	@cargo build --release --locked --bin tidemill
	@TIDEMILL_SOAK_DOCUMENTS="$${TIDEMILL_SOAK_DOCUMENTS:-20000}" TIDEMILL_SOAK_KILLS="$${TIDEMILL_SOAK_KILLS:-10}" \
		TIDEMILL_TEST_BINARY="$(CARGO_TARGET_DIR)/release/tidemill" \
		cargo test --locked --test daemon chaos -- --nocapture
	@TIDEMILL_SOAK_OUTAGE_SECONDS="$${TIDEMILL_SOAK_OUTAGE_SECONDS:-60}" \
		TIDEMILL_TEST_BINARY="$(CARGO_TARGET_DIR)/release/tidemill" \
		cargo test --locked --test cluster -- --nocapture
	@deploy/backtest-accuracy.sh

dist: setup ## release archive with binary, config, deploy and grafana
	@deploy/dist.sh

clean: ## delete what was built
	@cargo clean
