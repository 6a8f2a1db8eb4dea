#!/usr/bin/env bash
# clacksd beside other servers: prints the tables of docs/performance.md as Markdown on standard output.
#
#   benches/compare.sh [--short] [--into FILE] [--rounds N] [--seconds S] [--target TARGET…]
#
# --short: only shows that everything works, in seconds; builds without optimization. Its figures say nothing.
# --into FILE: puts the tables into FILE, between the lines <!-- compare.sh --> and <!-- /compare.sh -->, too.
# --rounds, --seconds: of each measurement; 5 rounds of 0.5 s if not said.
# --target: one more server for the first tables, as the load program (benches/load) takes it; may be given more than once.
#
# Servers are pinned to core 0, the load to core 1. Redis, memcached, Mosquitto and NATS are installed from the packages of Debian
# if they are missing and the user may do that; what is not there is told and left out. Everything that runs is started here, in a
# folder of its own, and ended in any case.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD

say() { printf 'compare.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

is_short='' into='' rounds=5 seconds=0.5 more_targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --short) is_short=1 rounds=1 seconds=0.05; shift ;;
    --into) into=${2:?--into takes a file}; shift 2 ;;
    --rounds) rounds=${2:?--rounds takes a number}; shift 2 ;;
    --seconds) seconds=${2:?--seconds takes a number}; shift 2 ;;
    --target) more_targets+=(--target "${2:?--target takes a server}"); shift 2 ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$repository/benches/compare.sh" >&2; exit 2 ;;
  esac
done
if [ -n "$into" ]; then
  grep -qx '<!-- compare.sh -->' "$into" && grep -qx '<!-- /compare.sh -->' "$into" \
    || die "$into has no lines <!-- compare.sh --> and <!-- /compare.sh -->"
fi

# --- What must be there ---------------------------------------------------------------------------------------------------------

for tool in cargo taskset awk mktemp; do command -v "$tool" >/dev/null || die "$tool is missing"; done
[ "$(uname -s)" = Linux ] || die "CPU times are read from Linux's /proc"
taskset --cpu-list 0 true 2>/dev/null && taskset --cpu-list 1 true 2>/dev/null \
  || die "two cores are needed, one for the server and one for the load"

folder=$(mktemp -d "${TMPDIR:-/tmp}/compare.XXXXXX")
servers=() child='' policy=''
clean_up() {
  trap '' INT TERM HUP
  for process in $child "${servers[@]}"; do kill "$process" 2>/dev/null || true; done
  for _ in $(seq 50); do
    local left=''
    for process in "${servers[@]}"; do if kill -0 "$process" 2>/dev/null; then left=1; fi; done
    [ -n "$left" ] || break
    sleep 0.1
  done
  for process in "${servers[@]}"; do kill -9 "$process" 2>/dev/null || true; done
  if [ -n "$policy" ]; then rm -f "$policy"; fi
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In the background, so that a signal is not kept waiting.
wait_for() { "$@" & child=$!; local status=0; wait "$child" || status=$?; child=''; return "$status"; }

declare -A programs=([redis-server]=redis-server [memcached]=memcached [mosquitto]=mosquitto [nats-server]=nats-server)
missing() { for program in "${!programs[@]}"; do command -v "$program" >/dev/null || echo "${programs[$program]}"; done; }
PATH=$PATH:/usr/sbin:/sbin
mapfile -t packages < <(missing)
if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing ${packages[*]}"
    # Or the packages would start services, which take part of the machine.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
      policy=/usr/sbin/policy-rc.d
      printf '#!/bin/sh\nexit 101\n' >"$policy"
      chmod 755 "$policy"
    fi
    { DEBIAN_FRONTEND=noninteractive wait_for apt-get update -qq
      for package in "${packages[@]}"; do
        DEBIAN_FRONTEND=noninteractive wait_for apt-get install -y -qq --no-install-recommends "$package" || true
      done
    } >"$folder/apt.log" 2>&1 || true
    if [ -n "$policy" ]; then rm -f "$policy"; policy=''; fi
  fi
  mapfile -t packages < <(missing)
fi
left_out=("${packages[@]}")
[ ${#left_out[@]} -eq 0 ] || say "left out, as they are not installed: ${left_out[*]}"
has() { command -v "$1" >/dev/null; }

if [ -n "$is_short" ]; then profile=() kind=debug; else profile=(--release) kind=release; fi
say "building"
wait_for cargo build "${profile[@]}" --locked --quiet --bin clacksd
wait_for cargo build "${profile[@]}" --locked --quiet --manifest-path benches/load/Cargo.toml
wait_for cargo build "${profile[@]}" --locked --quiet --manifest-path benches/ceiling/Cargo.toml
[ -n "$is_short" ] || wait_for cargo build --release --locked --quiet --manifest-path benches/loops/Cargo.toml
target() { echo "${CARGO_TARGET_DIR:-$1/target}/$kind/$2"; }
clacksd=$(target "$repository" clacksd)
load=$(target "$repository/benches/load" load)
ceiling=$(target "$repository/benches/ceiling" ceiling)
loops=$(target "$repository/benches/loops" loops)

# --- Starting servers -----------------------------------------------------------------------------------------------------------

ulimit -n "$(ulimit -H -n)"
descriptors=$(ulimit -n)
idle_clients=10000 idle_seconds=20 many_keys=1000000
if [ -n "$is_short" ]; then idle_clients=100 idle_seconds=1 many_keys=20000; fi
if [ "$descriptors" != unlimited ] && [ "$descriptors" -lt $((idle_clients + 1000)) ]; then
  idle_clients=$((descriptors - 1000))
  say "only $descriptors descriptors are allowed: $idle_clients idle clients instead of 10000"
fi
# Where a follower runs: beside the load, if there is no third core.
follower_core=1
if taskset --cpu-list 2 true 2>/dev/null; then follower_core=2; fi

# A port that nothing listens on, below those that Linux gives to outgoing connections: one of ten thousand that have just ended would
# still be in the way.
ports=()
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    [[ " ${ports[*]} " == *" $port "* ]] && continue
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  ports+=("$port")
  REPLY=$port
}

# start NAME CORE SOCKET-OR-PORT COMMAND…
start() {
  local name=$1 core=$2 where=$3
  shift 3
  # One that a server has left behind is none to wait for.
  if [[ $where == /* ]]; then rm -f "$where"; fi
  taskset --cpu-list "$core" "$@" >"$folder/$name.log" 2>&1 </dev/null &
  local process=$!
  servers+=("$process")
  echo "$process" >"$folder/$name.pid"
  for _ in $(seq 200); do
    kill -0 "$process" 2>/dev/null || { cat "$folder/$name.log" >&2; die "$name has ended"; }
    if [[ $where == /* ]]; then
      if [ -S "$where" ]; then return; fi
    elif (exec 3<>"/dev/tcp/127.0.0.1/$where") 2>/dev/null; then
      return
    fi
    sleep 0.05
  done
  cat "$folder/$name.log" >&2
  die "$name does not listen on $where"
}

# stop NAME
stop() {
  local process
  process=$(cat "$folder/$1.pid")
  kill "$process"
  wait "$process" 2>/dev/null || true
}

password=bench-password
# clacksd_at NAME CORE SETTINGS
clacksd_at() {
  cat >"$folder/$1.xml" <<X
<clacks><appname>bench</appname><socket>$folder/$1.sock</socket><maxclients>20000</maxclients>
<username>bench</username><password>$password</password>$3</clacks>
X
  start "$1" "$2" "$folder/$1.sock" "$clacksd" --log-level info "$folder/$1.xml"
}
redis_at() { # NAME WHERE ARGUMENTS…
  local name=$1 where=$2
  shift 2
  start "$name" 0 "$where" redis-server --save '' --daemonize no --dir "$folder" --maxclients 20000 --tcp-backlog 4096 "$@"
}

# Servers for the tables; ${t[NAME]} is how the load program is told of one, without its role.
declare -A t
unix() { t[$1]="$2;proto=$3;unix=$folder/$1.sock"; }
clacks() { t[$1]="$2;proto=clacks;unix=$folder/$1.sock;user=bench;pass=$password"; }

# What the main tables are about, with nothing behind it.
peers=() all=()
start_all() {
  peers=()
  clacksd_at clacksd 0 ''
  clacks clacksd clacksd
  start ceiling 0 "$folder/ceiling.sock" "$ceiling" "$folder/ceiling.sock"
  unix ceiling ceiling clacks
  if has redis-server; then
    redis_at redis "$folder/redis.sock" --port 0 --unixsocket "$folder/redis.sock" --unixsocketperm 700 --appendonly no
    unix redis Redis redis
    peers+=(redis)
  fi
  if has memcached; then
    start memcached 0 "$folder/memcached.sock" \
      memcached -u "$(id -un)" -t 1 -s "$folder/memcached.sock" -c 20000 -m 1024 -b 4096
    unix memcached memcached memcached
    peers+=(memcached)
  fi
  if has mosquitto; then
    cat >"$folder/mosquitto.conf" <<X
user $(id -un)
listener 0 $folder/mosquitto.sock
allow_anonymous true
persistence false
max_queued_messages 0
max_connections -1
log_dest none
X
    start mosquitto 0 "$folder/mosquitto.sock" mosquitto -c "$folder/mosquitto.conf"
    unix mosquitto Mosquitto mqtt
    peers+=(mosquitto)
  fi
  if has nats-server; then
    free_port
    nats=$REPLY
    start nats 0 "$nats" env GOMAXPROCS=1 nats-server --addr 127.0.0.1 --port "$nats" --log "$folder/nats-server.log"
    t[nats]="NATS (TCP);proto=nats;tcp=127.0.0.1:$nats;pidfile=$folder/nats.pid"
    peers+=(nats)
  fi
  all=()
  for name in "${peers[@]}"; do all+=("${t[$name]}"); done
  all+=("${t[ceiling]};role=reference" "${t[clacksd]};role=subject")
}
stop_all() { for name in clacksd ceiling "${peers[@]}"; do stop "$name"; done; }

# --- Measuring ------------------------------------------------------------------------------------------------------------------

output=$folder/table.md
# measure TITLE TARGET… -- SCENARIO…
measure() {
  local title=$1 arguments=()
  shift
  while [ "$1" != -- ]; do arguments+=(--target "$1"); shift; done
  shift
  say "$title"
  wait_for taskset --cpu-list 1 "$load" --title "$title" --rounds "$rounds" --seconds "$seconds" --patience "$patience" \
    "${arguments[@]}" "$@" >"$folder/measured.md" || is_whole=''
  tee -a "$output" <"$folder/measured.md"
}
is_whole=1
tell() { printf '%s\n' "$@" | tee -a "$output"; }

processor=$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
version() { command -v dpkg-query >/dev/null && dpkg-query --showformat="$2 \${Version}, " --show "$1" 2>/dev/null || true; }
versions=$(version redis-server Redis; version memcached memcached; version mosquitto Mosquitto; version nats-server NATS)
tell "${processor:-$(uname -m)}, $(nproc) cores, Linux $(uname -r), $(rustc --version | cut -d' ' -f1,2). \
${versions:+Beside it: ${versions%, }. }\
The ceiling is benches/ceiling, which does next to nothing but what the load asks for."
[ ${#left_out[@]} -eq 0 ] || tell '' "Left out, as they are not installed: ${left_out[*]}."
[ -z "$is_short" ] || tell '' "A trial, not optimized: its figures say nothing."
tell ''

start_all

patience=60
if [ -n "$is_short" ]; then patience=0; fi
measure "Signals and values" "${all[@]}" -- "${more_targets[@]}" --cpu \
  fan-out:n=1 fan-out:n=10 fan-out:n=100 \
  latency:n=1 latency:n=10 latency:n=100 \
  ingest \
  cache:depth=64 cache:depth=64,clients=50 \
  cache:latency=1 cache:clients=50 cache:clients=50,latency=1 \
  topics \
  fan-out:n=1,size=65536,window=64 fan-out:n=10,size=65536,window=64 cache:depth=4,size=65536,keys=100

if [ -z "$is_short" ]; then patience=10; fi
measure "A large cache" "${all[@]}" -- "${more_targets[@]}" --cpu \
  "cache:depth=64,clients=50,keys=$many_keys" "cache:clients=50,keys=$many_keys"

# Anew: what was measured before must not have left memory that clients take again.
stop_all
start_all
measure "Idle" "${all[@]}" -- "${more_targets[@]}" "idle:n=100,seconds=$idle_seconds"
measure "Idle clients" "${all[@]}" -- "${more_targets[@]}" "clients:n=$idle_clients"

# With TLS.
tls_targets=()
if has openssl; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>"$folder/openssl.log" \
    || { cat "$folder/openssl.log" >&2; die "openssl has made no certificate"; }
  if has redis-server && ldd "$(command -v redis-server)" | grep -q libssl; then
    free_port
    redis_tls=$REPLY
    redis_at redis-tls "$redis_tls" --port 0 --tls-port "$redis_tls" --bind 127.0.0.1 --tls-cert-file "$folder/cert.pem" \
      --tls-key-file "$folder/key.pem" --tls-ca-cert-file "$folder/cert.pem" --tls-auth-clients no --appendonly no
    tls_targets+=("Redis, TLS;proto=redis;tls=127.0.0.1:$redis_tls;pidfile=$folder/redis-tls.pid")
  fi
  free_port
  clacksd_tls=$REPLY
  clacksd_at clacksd-tls 0 \
    "<ip>127.0.0.1</ip><port>$clacksd_tls</port><ssl><cert>$folder/cert.pem</cert><key>$folder/key.pem</key></ssl>"
  as="user=bench;pass=$password;pidfile=$folder/clacksd-tls.pid"
  clacks clacksd-tls "clacksd, plain"
  tls_targets+=("${t[clacksd-tls]};role=reference" "clacksd, TLS;proto=clacks;tls=127.0.0.1:$clacksd_tls;$as;role=subject")
  measure "TLS" "${tls_targets[@]}" -- --cpu fan-out:n=10 ingest cache:depth=64,clients=50
  stop clacksd-tls
  if [ -e "$folder/redis-tls.pid" ]; then stop redis-tls; fi
else
  tell "### TLS" '' "Left out: openssl, which makes the certificate, is not installed." ''
  say "TLS is left out: openssl is not installed"
fi

# What a cache that lasts costs.
lasting=()
if has redis-server; then
  redis_at redis-lasting "$folder/redis-lasting.sock" --port 0 --unixsocket "$folder/redis-lasting.sock" --unixsocketperm 700 \
    --appendonly yes --appendfsync everysec --appendfilename lasting.aof
  unix redis-lasting "Redis, AOF everysec" redis
  lasting+=("${t[redis-lasting]}")
fi
clacksd_at lasting 0 \
  "<persistancefile>$folder/lasting.dat</persistancefile><journal>1</journal><journalsync>interval</journalsync>"
clacks lasting "clacksd, journal"
measure "A cache that lasts, on $(df --output=fstype "$folder" | tail -n 1)" "${lasting[@]}" "${t[clacksd]};role=reference" \
  "${t[lasting]};role=subject" -- --cpu ingest:store=1 cache:depth=64 cache:clients=50
stop lasting
if [ -e "$folder/redis-lasting.pid" ]; then stop redis-lasting; fi

# A slave that follows a busy master.
clacksd_at master 0 ''
clacksd_at slave "$follower_core" "<master><socket>$folder/master.sock</socket></master>"
clacks master "clacksd, with a slave"
measure "Interclacks" "${t[clacksd]};role=reference" "${t[master]};follower=$folder/slave.sock;role=subject" -- ingest
peak() { awk '/^VmHWM/ { printf "%.0f", $2 / 1000 }' "/proc/$(cat "$folder/$1.pid")/status"; }
tell "With a slave, the time ends once the last signal has come from the slave. Memory at its peak: master $(peak master) MB, slave \
$(peak slave) MB." ''
stop slave
stop master

# The loop itself, beside other loops.
if [ -z "$is_short" ]; then
  stop_all
  tell "### The loop beside other loops" '' "CPU time of the thread, in ns for each operation."
  for part in dispatch timers; do
    say "the loop: $part"
    wait_for taskset --cpu-list 1 "$loops" "$part" 3 >"$folder/measured.md"
    tee -a "$output" <"$folder/measured.md"
  done
fi

if [ -n "$into" ]; then
  awk -v tables="$output" '
    /^<!-- \/compare.sh -->$/ { inside = 0 }
    !inside { print }
    /^<!-- compare.sh -->$/ { inside = 1; print ""; while ((getline line < tables) > 0) print line; print "" }
  ' "$into" >"$folder/into.md"
  cat "$folder/into.md" >"$into"
fi
[ -n "$is_whole" ] || die "some figures are missing: see above"
