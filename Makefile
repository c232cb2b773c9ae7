# The two commands that a fresh clone needs are `make up` and `make test`.
# Everything they need is installed by them, and only if it is missing.

BINARY := target/release/fleetfoot
# Where `up` keeps its state; the same rule as in the program.
DATA   := $(or $(FLEETFOOT_DATA),$(if $(XDG_DATA_HOME),$(XDG_DATA_HOME)/fleetfoot,$(HOME)/.local/share/fleetfoot))
LISTEN := $(or $(FLEETFOOT_LISTEN),127.0.0.1:7878)
# A toolchain that rustup has just installed is not on the PATH of this shell yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help up down status build image web dashboard test lint bench screenshots fuzz docs tools

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: build ## Build, start a server with a runner in the background, print what to type next
	@scripts/up.sh start $(BINARY) "$(DATA)" "$(LISTEN)"

down: ## Stop what `make up` started
	@scripts/up.sh stop $(BINARY) "$(DATA)" "$(LISTEN)"

status: ## Say whether it runs
	@scripts/up.sh status $(BINARY) "$(DATA)" "$(LISTEN)"

build: tools dashboard ## Build the release binary, with the dashboard if npm is there
	@cargo build --release --locked -p fleetfoot

image: build ## Make the container image fleetfoot:VERSION of the program
	@scripts/image.sh $(BINARY) "fleetfoot:$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"

web: ## Build the dashboard into web/dist; the next build embeds it
	@scripts/web.sh need

# The same, but without npm the program is built without it.
dashboard:
	@scripts/web.sh

tools:
	@scripts/tools.sh build

test: ## Check format and lints, then run every test
	@scripts/tools.sh test
	@scripts/web.sh
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	@cargo build --locked --quiet -p fleetfoot
	@if [ -f web/dist/index.html ]; then npm --prefix web test; else echo "no dashboard was built here: its tests are skipped" >&2; fi
	@cargo test --workspace --locked

lint: ## Format and lints only
	@scripts/tools.sh test
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings

bench: tools ## Measure the numbers of the README; ROW=dispatch measures one of them
	@scripts/web.sh
	@cargo build --release --locked -p fleetfoot -p fleetfoot-bench
	@target/release/bench $(if $(ROW),--row $(ROW))
	@$(if $(ROW),,scripts/tools.sh test && npm --prefix web run --silent bench:pages && npm --prefix web run --silent bench:log)

screenshots: tools dashboard ## Make the pictures of docs/images anew
	@scripts/tools.sh test
	@cargo build --locked --quiet -p fleetfoot
	@npm --prefix web run --silent screenshots

fuzz: tools ## Feed the parsers at random for longer than the tests do (CASES=100000)
	@PROPTEST_CASES=$(or $(CASES),100000) cargo test --release --locked -p fleetfoot-workflow --test fuzz
	@PROPTEST_CASES=$(or $(CASES),100000) cargo test --release --locked -p fleetfoot-actions --test fuzz
	@PROPTEST_CASES=$(or $(CASES),100000) cargo test --release --locked -p fleetfoot-expr --test properties

docs: tools ## Write docs/cli.md and the OpenAPI document anew
	@UPDATE_DOCS=1 cargo test --locked --quiet -p fleetfoot --bin fleetfoot reference
