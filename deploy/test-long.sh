#!/usr/bin/env bash
# What takes too long for every change: the tests that are marked with the minutes they take, and the
# licences, bans, sources and known faults of the dependencies. Services as in deploy/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "services"
export OBJECTMESH_TEST_SERVICES=/var/tmp/objectmesh-test-$$
mkdir -m 755 "$OBJECTMESH_TEST_SERVICES"
trap 'deploy/test-services.sh stop || true; rm -rf "$OBJECTMESH_TEST_SERVICES"' EXIT
deploy/test-services.sh start
eval "$(deploy/test-services.sh env)"

step "long tests"
cargo test --locked --workspace -- --ignored --test-threads 1

step "dependencies"
command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
# Known faults are looked up in a database that is fetched: where it cannot be, the rest is checked.
cargo deny check licenses bans sources
cargo deny check advisories || echo "advisories: not clean, or not to be had"
step "done"
