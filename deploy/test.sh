#!/usr/bin/env bash
# Passes the tests, from a clean clone: starts PostgreSQL and Redis of its own (installed from
# Debian's packages when they are absent), then format, lints and the whole suite on both grounds.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "services"
deploy/test-services.sh start
trap 'deploy/test-services.sh stop' EXIT
eval "$(deploy/test-services.sh env)"

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --locked --workspace --all-targets -- -D warnings

step "tests"
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --locked --workspace --no-fail-fast
else
  cargo test --locked --workspace --no-fail-fast
fi
step "done"
