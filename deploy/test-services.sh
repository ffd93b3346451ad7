#!/usr/bin/env bash
# PostgreSQL and Redis for the tests, each with a folder and a port of its own.
#
#   deploy/test-services.sh start   installs what is missing, starts both, waits until they answer
#   deploy/test-services.sh env     prints what the tests read:  eval "$(deploy/test-services.sh env)"
#   deploy/test-services.sh stop    stops what `start` started, and nothing else
#
# OBJECTMESH_TEST_SERVICES    folder for data, logs and ports (default: target/test-services, or
#                             /var/tmp/objectmesh-test-services for root: PostgreSQL refuses to run
#                             as root, and the user `postgres` may not be able to enter target/)
# OBJECTMESH_TEST_PG_PORT, OBJECTMESH_TEST_REDIS_PORT    ports (default: free ones, then kept)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
am_root=false
[[ $(id -u) == 0 ]] && am_root=true
if $am_root; then default=/var/tmp/objectmesh-test-services; else default=$root/target/test-services; fi
home=${OBJECTMESH_TEST_SERVICES:-$default}
pg=$home/postgres
redis=$home/redis

say() { echo "test-services: $*" >&2; }
fail() { say "$@"; exit 1; }

as_pg() { if $am_root; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }

pg_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

install_missing() {
  local missing=()
  [[ -n $(pg_bin) ]] || missing+=(postgresql)
  command -v redis-server >/dev/null || missing+=(redis-server)
  # The tests have a client in Python.
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
  # The API is linted and explored by tools of Node, and a browser walks through /docs.
  command -v node >/dev/null || missing+=(nodejs)
  command -v npm >/dev/null || missing+=(npm)
  command -v chromium >/dev/null || missing+=(chromium)
  # The papers are spelled right.
  command -v codespell >/dev/null || missing+=(codespell)
  [[ ${#missing[@]} == 0 ]] && return
  local sudo=()
  if ! $am_root; then
    command -v sudo >/dev/null || fail "please install: ${missing[*]}"
    sudo=(sudo)
  fi
  say "installing ${missing[*]}"
  # No service of the system's is wanted; one that cannot start must not fail the installation.
  "${sudo[@]}" apt-get update -qq >&2
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# A port that nobody listens on now; two starts at the same moment are not expected.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
  done
  fail "no free port found"
}

# The port given, else the one used last time, else a free one.
port_of() {
  local file=$1 given=$2
  if [[ -n $given ]]; then echo "$given" >"$file"; elif [[ ! -s $file ]]; then free_port >"$file"; fi
  cat "$file"
}

until_it_answers() {
  local what=$1
  shift
  for _ in $(seq 150); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  fail "$what does not answer after 30 s; see the logs in $home"
}

pg_answers() { "$(pg_bin)/pg_isready" -q -h 127.0.0.1 -p "$(cat "$home/postgres.port")"; }
redis_answers() { [[ $(redis-cli -h 127.0.0.1 -p "$(cat "$home/redis.port")" ping) == PONG ]]; }

start_postgres() {
  local bin port
  bin=$(pg_bin)
  port=$(port_of "$home/postgres.port" "${OBJECTMESH_TEST_PG_PORT:-}")
  if [[ ! -s $pg/data/PG_VERSION ]]; then
    mkdir -p "$pg"
    if $am_root; then chown postgres "$pg"; fi
    # Our text order is by bytes on every database, hence the C locale.
    as_pg "$bin/initdb" -D "$pg/data" -U objectmesh --auth=trust --encoding=UTF8 --locale=C >"$home/initdb.log"
  fi
  if as_pg "$bin/pg_ctl" -D "$pg/data" status >/dev/null; then
    until_it_answers PostgreSQL pg_answers
    return
  fi
  # What it holds need not survive the machine, so nothing waits for the disk. Tests of durability have servers
  # of their own.
  as_pg "$bin/pg_ctl" -D "$pg/data" -l "$pg/server.log" -W start -o \
    "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='$pg' -c max_connections=300 \
     -c fsync=off -c full_page_writes=off" >/dev/null
  until_it_answers PostgreSQL pg_answers
}

start_redis() {
  local port
  port=$(port_of "$home/redis.port" "${OBJECTMESH_TEST_REDIS_PORT:-}")
  if redis_running; then until_it_answers Redis redis_answers; return; fi
  mkdir -p "$redis"
  redis-server --port "$port" --bind 127.0.0.1 --dir "$redis" --save "" --appendonly no \
    --daemonize yes --pidfile "$redis/redis.pid" --logfile "$redis/server.log" >/dev/null
  until_it_answers Redis redis_answers
}

# Whether our own server runs: the pid file may be old and its number somebody else's by now.
redis_running() {
  local pid
  pid=$(cat "$redis/redis.pid" 2>/dev/null) || return 1
  [[ -n $pid && $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *redis-server*:"$(cat "$home/redis.port")"* ]]
}

start() {
  install_missing
  mkdir -p "$home"
  if $am_root; then chmod 755 "$home"; fi
  start_postgres
  start_redis
  say "PostgreSQL and Redis answer"
  print_env
}

stop() {
  local bin pid
  bin=$(pg_bin)
  if [[ -n $bin && -s $pg/data/PG_VERSION ]] && as_pg "$bin/pg_ctl" -D "$pg/data" status >/dev/null; then
    as_pg "$bin/pg_ctl" -D "$pg/data" -m fast -w -t 30 stop >/dev/null || say "PostgreSQL did not stop"
  fi
  if redis_running; then
    pid=$(cat "$redis/redis.pid")
    kill "$pid"
    for _ in $(seq 100); do redis_running || break; sleep 0.1; done
  fi
  say "stopped"
}

print_env() {
  [[ -s $home/postgres.port && -s $home/redis.port ]] || fail "not started yet"
  echo "export TEST_POSTGRES_URL=postgres://objectmesh@127.0.0.1:$(cat "$home/postgres.port")/postgres"
  echo "export TEST_REDIS_URL=redis://127.0.0.1:$(cat "$home/redis.port")"
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  env) print_env ;;
  *) fail "usage: $0 start|stop|env" ;;
esac
