#!/usr/bin/env bash
# Three Redis servers and a Nuthatch in front of them, to try things out. Ctrl-C ends and removes it all.
set -euo pipefail

usage() {
  cat <<'END'
usage: deploy/demo.sh [--listen PORT] [--ports P1,P2,P3] [--stats PORT]

  --listen PORT     where Nuthatch listens           (NUTHATCH_LISTEN; else a free port)
  --ports P1,P2,P3  where the Redis servers listen   (NUTHATCH_REDIS_PORTS; else free ports)
  --stats PORT      where the statistics are         (NUTHATCH_STATS; else a free port)

Everything listens on 127.0.0.1 only, keeps nothing on disk and is gone when this ends.
Needs cargo, and redis-server, which is installed with apt-get when run as root.
END
}

die() {
  echo "demo.sh: $*" >&2
  exit 1
}

listen=${NUTHATCH_LISTEN:-} ports=${NUTHATCH_REDIS_PORTS:-} stats=${NUTHATCH_STATS:-}
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --listen | --ports | --stats)
      [ $# -ge 2 ] || die "$1 needs a value"
      case $1 in
        --listen) listen=$2 ;;
        --ports) ports=$2 ;;
        --stats) stats=$2 ;;
      esac
      shift
      ;;
    *) usage >&2; die "unknown option $1" ;;
  esac
  shift
done

cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null; }

has cargo || die "cargo is missing: install Rust from https://rustup.rs, or your distribution's rustup"
if ! has redis-server || ! has redis-cli; then
  if [ "$(id -u)" = 0 ] && has apt-get; then
    deploy/apt-install.sh redis-server redis-tools || true # checked below
  fi
fi
if ! has redis-server || ! has redis-cli; then
  die "redis-server and redis-cli are missing: install your distribution's redis packages" \
    "(Debian: redis-server redis-tools)"
fi

# True if something accepts connections on the port.
in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

taken=()

# check_port PORT WHAT: ends the script unless the port can be used.
check_port() {
  if ! [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] || (($1 > 65535)); then die "$2: '$1' is not a port"; fi
  local other
  for other in "${taken[@]}"; do
    [ "$other" != "$1" ] || die "$2: port $1 is given twice"
  done
  ! in_use "$1" || die "$2: port $1 is in use; choose another or leave it out to get a free one"
  taken+=("$1")
}

# Sets REPLY to a free port below those the kernel uses for outgoing connections.
free_port() {
  local port try
  for try in {1..1000}; do
    port=$((10000 + (RANDOM + try) % 22000))
    if ! in_use "$port" && [[ " ${taken[*]} " != *" $port "* ]]; then
      taken+=("$port")
      REPLY=$port
      return
    fi
  done
  die "found no free port"
}

redis_ports=()
if [ -n "$ports" ]; then
  IFS=', ' read -ra redis_ports <<<"$ports"
  [ ${#redis_ports[@]} = 3 ] || die "--ports: three ports are needed, got '$ports'"
  for port in "${redis_ports[@]}"; do check_port "$port" --ports; done
fi
if [ -n "$listen" ]; then check_port "$listen" --listen; fi
if [ -n "$stats" ]; then check_port "$stats" --stats; fi
while [ ${#redis_ports[@]} -lt 3 ]; do free_port; redis_ports+=("$REPLY"); done
if [ -z "$listen" ]; then free_port; listen=$REPLY; fi
if [ -z "$stats" ]; then free_port; stats=$REPLY; fi

cargo build --release
nuthatch=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/nuthatch

dir=$(mktemp -d "${TMPDIR:-/tmp}/nuthatch-demo.XXXXXX")
pids=()

# shellcheck disable=SC2317 # called by the trap
cleanup() {
  trap - EXIT INT TERM HUP
  # The proxy is the last one started and goes first.
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Ctrl-C reaches the whole foreground group; in sessions of their own the servers wait for cleanup.
quietly() {
  local log=$1
  shift
  setsid "$@" >"$dir/$log" 2>&1 </dev/null &
  pids+=($!)
}

# await PORT LOG WHAT: waits until the process started last listens.
await() {
  local try
  for try in {1..200}; do
    if ! kill -0 "${pids[-1]}" 2>/dev/null; then
      cat "$dir/$2" >&2
      die "$3 ended instead of listening on port $1"
    fi
    if in_use "$1"; then return; fi
    sleep 0.05
  done
  cat "$dir/$2" >&2
  die "$3 does not listen on port $1"
}

for port in "${redis_ports[@]}"; do
  quietly "redis-$port.log" redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$dir"
  await "$port" "redis-$port.log" redis-server
done

conf=$dir/nutcracker.yml
cat >"$conf" <<END
demo:
  listen: 127.0.0.1:$listen
  hash: murmur
  distribution: ketama
  redis: true
  timeout: 1000
  servers:
    - 127.0.0.1:${redis_ports[0]}:1 shard1
    - 127.0.0.1:${redis_ports[1]}:1 shard2
    - 127.0.0.1:${redis_ports[2]}:1 shard3
END
quietly nuthatch.log "$nuthatch" -c "$conf" -a 127.0.0.1 -s "$stats"
await "$listen" nuthatch.log nuthatch

cat <<END

Nuthatch listens on 127.0.0.1:$listen, in front of Redis on ${redis_ports[*]}.

Try, in another terminal:
  redis-cli -p $listen set user:1 alice
  redis-cli -p $listen get user:1
  redis-cli -p $listen mset user:2 bob user:3 carol user:4 dave
  $nuthatch locate -c $conf user:1 user:2 user:3 user:4
  curl -s http://127.0.0.1:$stats/stats

Configuration: $conf
Log:           $dir/nuthatch.log

Ctrl-C ends the demo and removes it.
END

# Returns when the proxy or a server ends by itself, or with a signal.
wait -n "${pids[@]}" || true
cat "$dir/nuthatch.log" >&2
die "one of the processes ended"
