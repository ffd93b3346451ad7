#!/usr/bin/env bash
# Passes the tests, from a clean clone: starts PostgreSQL and Redis of its own (they, a browser and
# what the tests' clients run on are installed from Debian's packages when they are absent), then
# format, spelling, lints and the whole suite in all sizes.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "services"
# A folder of its own, so that nothing of an earlier run is in the way and no other run is stopped.
export OBJECTMESH_TEST_SERVICES=/var/tmp/objectmesh-test-$$
mkdir -m 755 "$OBJECTMESH_TEST_SERVICES"
# What the tests said counts, also when a server is slow to stop.
trap 'deploy/test-services.sh stop || true; rm -rf "$OBJECTMESH_TEST_SERVICES"' EXIT
deploy/test-services.sh start
eval "$(deploy/test-services.sh env)"

step "format"
cargo fmt --all --check

step "spelling"
git ls-files '*.md' '*.proto' '*.sh' '*.toml' '*.yaml' | xargs codespell

step "lints"
cargo clippy --locked --workspace --all-targets -- -D warnings

step "tests"
# The browser was installed above: a test that cannot find it fails instead of being left out.
export OBJECTMESH_TEST_BROWSER=1
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --locked --workspace --no-fail-fast
  step "the slowest"
  grep -o '<testcase [^>]*' target/nextest/default/junit.xml |
    sed -E 's/.* name="([^"]*)" classname="([^"]*)".* time="([^"]*)".*/\3 s  \2 \1/' | sort -rn | sed -n '1,20p'
else
  cargo test --locked --workspace --no-fail-fast
fi
step "done"
