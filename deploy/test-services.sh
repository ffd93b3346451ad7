#!/usr/bin/env bash
# PostgreSQL and Redis for the tests: on ports of their own, in a folder of their own, on loopback
# only. Installs Debian's packages when they are absent.
#
#   test-services.sh start   starts both and waits until they answer; starting twice is fine
#   test-services.sh env     prints what to `eval`: TEST_POSTGRES_URL and TEST_REDIS_URL
#   test-services.sh stop    stops what was started
set -euo pipefail

pg_port=${OBJECTMESH_TEST_POSTGRES_PORT:-54329}
redis_port=${OBJECTMESH_TEST_REDIS_PORT:-63799}
# PostgreSQL refuses to run as root, and its user may not be able to enter the checkout.
home=${OBJECTMESH_TEST_SERVICES:-${TMPDIR:-/tmp}/objectmesh-test-services-$(id -u)}
url=postgres://objectmesh@127.0.0.1:$pg_port/postgres

as_postgres() {
  if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

pg_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

install_missing() {
  local missing=()
  [ -n "$(pg_bin)" ] && [ -x "$(pg_bin)/initdb" ] || missing+=(postgresql)
  command -v psql >/dev/null || missing+=(postgresql-client)
  command -v redis-server >/dev/null || missing+=(redis-server)
  [ ${#missing[@]} = 0 ] && return
  local sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -q >&2
  # No service of the package's own is to be started: ours has its own port and folder.
  $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends "${missing[@]}" >&2
}

wait_for() { # what, command…
  local what=$1 n
  shift
  for n in $(seq 1 150); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.2
  done
  echo "$what does not answer" >&2
  return 1
}

start() {
  install_missing
  local bin
  bin=$(pg_bin)
  mkdir -p "$home"
  chmod 711 "$home"
  if ! "$bin/pg_isready" -q -h 127.0.0.1 -p "$pg_port"; then
    if [ ! -s "$home/postgres/PG_VERSION" ]; then
      mkdir -p "$home/postgres"
      [ "$(id -u)" = 0 ] && chown postgres "$home/postgres"
      as_postgres "$bin/initdb" -D "$home/postgres" -U objectmesh -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
    fi
    as_postgres "$bin/pg_ctl" -D "$home/postgres" -s -w -l "$home/postgres/server.log" \
      -o "-p $pg_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$home/postgres -c max_connections=400" start
  fi
  wait_for PostgreSQL "$bin/pg_isready" -q -h 127.0.0.1 -p "$pg_port"
  if ! redis-cli -h 127.0.0.1 -p "$redis_port" ping >/dev/null 2>&1; then
    mkdir -p "$home/redis"
    redis-server --bind 127.0.0.1 --port "$redis_port" --dir "$home/redis" --save '' --appendonly no \
      --daemonize yes --pidfile "$home/redis/redis.pid" --logfile "$home/redis/redis.log" >/dev/null
  fi
  wait_for Redis redis-cli -h 127.0.0.1 -p "$redis_port" ping
}

stop() {
  local bin
  bin=$(pg_bin)
  if [ -f "$home/postgres/postmaster.pid" ]; then
    as_postgres "$bin/pg_ctl" -D "$home/postgres" -s -m fast stop || true
  fi
  if [ -f "$home/redis/redis.pid" ]; then
    kill "$(cat "$home/redis/redis.pid")" 2>/dev/null || true
    rm -f "$home/redis/redis.pid"
  fi
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  env)
    echo "export TEST_POSTGRES_URL=$url"
    echo "export TEST_REDIS_URL=redis://127.0.0.1:$redis_port"
    ;;
  *)
    sed -n '2,8p' "$0" >&2
    exit 2
    ;;
esac
