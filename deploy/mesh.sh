#!/usr/bin/env bash
# The mesh as processes: PostgreSQL, Redis and the five services on loopback, the example app
# installed. Data survives a stop.
#
#   deploy/mesh.sh start [--replicas N]   starts all, waits until all is ready, prints URLs; N
#                                         processes of each service (default 1)
#   deploy/mesh.sh status                 what runs and what is ready; exit 1 unless all of it is
#   deploy/mesh.sh env                    prints the addresses:  eval "$(deploy/mesh.sh env)"
#   deploy/mesh.sh stop                   stops what `start` started, and nothing else
#
# OBJECTMESH_MESH      folder for data, logs, ports and secrets (default: target/mesh, or
#                      /var/tmp/objectmesh-mesh for root, as in test-services.sh)
# OBJECTMESH_PROGRAM   the program (default: the release build if there is one, else a dev build)
# OBJECTMESH_APP       the app to install (default: examples/support-desk)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
if [[ $(id -u) == 0 ]]; then default=/var/tmp/objectmesh-mesh; else default=$target/mesh; fi
home=${OBJECTMESH_MESH:-$default}
run=$home/run
app=${OBJECTMESH_APP:-$root/examples/support-desk}
# In this order they start; the gateway is the first to stop.
services=(auth data flow ai gateway)

say() { echo "mesh: $*" >&2; }
fail() { say "$@"; exit 1; }

servers() { OBJECTMESH_TEST_SERVICES=$home/services "$root/deploy/test-services.sh" "$1"; }

# Ports that were given out in this run count as taken: nobody listens on them yet.
given=" "
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 12000))
    [[ $given == *" $port "* ]] && continue
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      given+="$port "
      free=$port
      return
    fi
  done
  fail "no free port found"
}

# When a process began, in ticks since boot: with it a process id means one process only.
born() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The name, in parentheses, may hold spaces. One that has ended and is not waited for has a number
  # still.
  awk '{ if ($1 == "Z") exit 1; print $20 }' <<<"${stat##*) }"
}

running() {
  local pid began
  read -r pid began <"$run/$1.pid" 2>/dev/null || return 1
  [[ $(born "$pid") == "$began" ]]
}

# Asks a process over HTTP whether it is ready.
ready() {
  local port line
  port=$(cat "$run/$1.health")
  (
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET /ready HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$port" >&3
    read -t 5 -r line <&3
    [[ $line == *" 200 "* ]]
  ) 2>/dev/null
}

# Names of the processes, as they were started.
names() { if [[ -s $run/names ]]; then cat "$run/names"; fi; }

# Addresses of a service's processes, by comma.
urls() {
  local list="" name
  for name in $(names); do
    if [[ ${name%-*} == "$1" ]]; then list+=",http://127.0.0.1:$(cat "$run/$name.port")"; fi
  done
  echo "${list#,}"
}

find_program() {
  program=${OBJECTMESH_PROGRAM:-$target/release/objectmesh}
  [[ -x $program ]] && return
  [[ -z ${OBJECTMESH_PROGRAM:-} ]] || fail "$program is no program"
  say "no release build; building for development"
  (cd "$root" && cargo build --locked -p objectmesh >&2)
  program=$target/debug/objectmesh
}

# A secret of this mesh, made once.
secret() {
  local file=$home/$1
  if [[ ! -s $file ]]; then
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$file")
  fi
  cat "$file"
}

choose_ports() {
  local service number name
  rm -rf "$run"
  mkdir -p "$run"
  for service in "${services[@]}"; do
    for number in $(seq "$1"); do
      name=$service-$number
      free_port
      echo "$free" >"$run/$name.port"
      # The gateway answers for its health at its own address, the others at one beside it.
      [[ $service == gateway ]] || free_port
      echo "$free" >"$run/$name.health"
      echo "$name" >>"$run/names"
    done
  done
}

# What every process is told.
settings() {
  local service
  for service in AUTH DATA FLOW AI; do
    echo "OBJECTMESH__${service}__DB__URL=$TEST_POSTGRES_URL"
    echo "OBJECTMESH__${service}__DB__SCHEMA=${service,,}"
  done
  for service in auth data flow ai; do
    echo "OBJECTMESH__PEERS__${service^^}=$(urls "$service")"
  done
  echo "OBJECTMESH__REDIS__URL=$TEST_REDIS_URL"
  echo "OBJECTMESH__AUTH__SECRET_FILE=$home/auth.secret"
  echo "OBJECTMESH__MESH__SECRET_FILE=$home/mesh.secret"
  # One origin for all gateways, as behind a load balancer.
  echo "OBJECTMESH__GATEWAY__PUBLIC_URL=$(urls gateway | cut -d , -f 1)"
  echo "OBJECTMESH__DATA__REFLECTION=true"
}

start_process() {
  local name=$1 service=${1%-*} pid
  local own=("OBJECTMESH__${service^^}__LISTEN=127.0.0.1:$(cat "$run/$name.port")")
  if [[ $service != gateway ]]; then
    own+=("OBJECTMESH__ADMIN__LISTEN=127.0.0.1:$(cat "$run/$name.health")")
  fi
  env "${common[@]}" "${own[@]}" nohup "$program" serve "$service" \
    </dev/null >"$run/$name.log" 2>&1 &
  pid=$!
  echo "$pid $(born "$pid")" >"$run/$name.pid"
}

until_ready() {
  local name=$1
  for _ in $(seq 600); do
    if ready "$name"; then return; fi
    if ! running "$name"; then
      tail -n 5 "$run/$name.log" >&2
      fail "$name ended; its log: $run/$name.log"
    fi
    sleep 0.1
  done
  fail "$name is not ready after 60 s; its log: $run/$name.log"
}

start() {
  local name
  for name in $(names); do
    if running "$name"; then fail "$name runs already; \`$0 stop\` first"; fi
  done
  mkdir -p "$home"
  # PostgreSQL's user has to get through.
  chmod 755 "$home"
  find_program
  eval "$(servers start)"
  secret auth.secret >/dev/null
  secret mesh.secret >/dev/null
  choose_ports "$replicas"
  mapfile -t common < <(settings)
  env "${common[@]}" "$program" migrate --app "$app" >&2
  for name in $(names); do start_process "$name"; done
  for name in $(names); do until_ready "$name"; done
  say "all is ready; logs in $run"
  print_env
}

status() {
  local name state outcome=0
  [[ -n $(names) ]] || fail "not started"
  for name in $(names); do
    if ! running "$name"; then state="does not run"; outcome=1
    elif ready "$name"; then state=ready
    else state="not ready"; outcome=1; fi
    echo "$name http://127.0.0.1:$(cat "$run/$name.port") $state"
  done
  return "$outcome"
}

stop() {
  local name pid _began all
  mapfile -t all < <(names | tac)
  for name in "${all[@]}"; do
    running "$name" || continue
    read -r pid _began <"$run/$name.pid"
    kill "$pid"
    # Calls under way may take 30 s to end.
    for _ in $(seq 400); do running "$name" || break; sleep 0.1; done
    if running "$name"; then
      say "$name does not end and is killed"
      kill -9 "$pid"
    fi
  done
  rm -f "$run"/*.pid "$run/names"
  if [[ -d $home/services ]]; then servers stop; fi
  say "stopped"
}

print_env() {
  local service
  [[ -n $(names) ]] || fail "not started"
  echo "export OBJECTMESH_URL=$(urls gateway | cut -d , -f 1)/api/v1"
  for service in gateway auth data flow ai; do
    echo "export OBJECTMESH_${service^^}_URLS=$(urls "$service")"
  done
}

command=${1:-}
usage="usage: $0 start [--replicas N] | stop | status | env"
replicas=1
case ${2:-} in
  "") [[ $# -le 1 ]] || fail "$usage" ;;
  --replicas) replicas=${3:-}; [[ $command == start && $# == 3 && $replicas =~ ^[1-9]$ ]] || fail "$usage" ;;
  *) fail "$usage" ;;
esac
case $command in
  start) start ;;
  stop) stop ;;
  status) status ;;
  env) print_env ;;
  *) fail "$usage" ;;
esac
