#!/usr/bin/env bash
# Two shards of Redis, each a master with a replica, three sentinels that watch them and a Nuthatch in
# front, to see a failover. Ctrl-C ends and removes it all.
set -euo pipefail

usage() {
  cat <<'END'
usage: deploy/demo.sh [--listen PORT] [--ports P1,P2,P3,P4] [--sentinels P1,P2,P3] [--stats PORT]

  --listen PORT         where Nuthatch listens             (NUTHATCH_LISTEN; else a free port)
  --ports P1,P2,P3,P4   where the Redis servers listen: first master and replica, second master and
                        replica                            (NUTHATCH_REDIS_PORTS; else free ports)
  --sentinels P1,P2,P3  where the sentinels listen         (NUTHATCH_SENTINEL_PORTS; else free ports)
  --stats PORT          where the statistics are           (NUTHATCH_STATS; else a free port)

Everything listens on 127.0.0.1 only and is gone when this ends. A server that is killed comes back after
a while, as a replica.
Needs cargo, and redis-server, which is installed with apt-get when run as root.
END
}

die() {
  echo "demo.sh: $*" >&2
  exit 1
}

listen=${NUTHATCH_LISTEN:-} ports=${NUTHATCH_REDIS_PORTS:-} stats=${NUTHATCH_STATS:-}
sentinels=${NUTHATCH_SENTINEL_PORTS:-}
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --listen | --ports | --sentinels | --stats)
      [ $# -ge 2 ] || die "$1 needs a value"
      case $1 in
        --listen) listen=$2 ;;
        --ports) ports=$2 ;;
        --sentinels) sentinels=$2 ;;
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
has_redis() { has redis-server && has redis-cli; }
if ! has_redis && [ "$(id -u)" = 0 ] && has apt-get; then
  deploy/apt-install.sh redis-server redis-tools || true # checked below
fi
has_redis || die "redis-server and redis-cli are missing: install your distribution's redis packages" \
  "(Debian: redis-server redis-tools)"

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

# read_ports LIST COUNT OPTION: sets REPLIES to the ports of the list.
read_ports() {
  REPLIES=()
  [ -n "$1" ] || return 0
  IFS=', ' read -ra REPLIES <<<"$1"
  [ ${#REPLIES[@]} = "$2" ] || die "$3: $2 ports are needed, got '$1'"
  local port
  for port in "${REPLIES[@]}"; do check_port "$port" "$3"; done
}

read_ports "$ports" 4 --ports
redis_ports=("${REPLIES[@]}")
read_ports "$sentinels" 3 --sentinels
sentinel_ports=("${REPLIES[@]}")
if [ -n "$listen" ]; then check_port "$listen" --listen; fi
if [ -n "$stats" ]; then check_port "$stats" --stats; fi
while [ ${#redis_ports[@]} -lt 4 ]; do free_port; redis_ports+=("$REPLY"); done
while [ ${#sentinel_ports[@]} -lt 3 ]; do free_port; sentinel_ports+=("$REPLY"); done
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

# server PORT [--sentinel]: starts what $dir/PORT.conf configures.
server() {
  quietly "$1.log" redis-server "$dir/$1.conf" "${@:2}"
  await "$1" "$1.log" redis-server
}

# redis PORT [MASTER]: a Redis whose data survives a kill, as a replica if a master's port is given.
redis() {
  cat >"$dir/$1.conf" <<END
bind 127.0.0.1
port $1
dir $dir
save ""
appendonly yes
appenddirname $1.aof
repl-diskless-sync-delay 0
${2:+replicaof 127.0.0.1 $2}
END
  server "$1"
}

redis "${redis_ports[0]}"
redis "${redis_ports[1]}" "${redis_ports[0]}"
redis "${redis_ports[2]}"
redis "${redis_ports[3]}" "${redis_ports[2]}"
for port in "${sentinel_ports[@]}"; do
  printf 'bind 127.0.0.1\nport %s\ndir %s\n' "$port" "$dir" >"$dir/$port.conf"
  for shard in 1 2; do
    cat >>"$dir/$port.conf" <<END
sentinel monitor shard$shard 127.0.0.1 ${redis_ports[2 * shard - 2]} 2
sentinel down-after-milliseconds shard$shard 1000
sentinel failover-timeout shard$shard 6000
END
  done
  server "$port" --sentinel
done
servers=${#pids[@]}

conf=$dir/nutcracker.yml
cat >"$conf" <<END
demo:
  listen: 127.0.0.1:$listen
  hash: murmur
  distribution: ketama
  redis: true
  timeout: 1000
  sentinels:
    - 127.0.0.1:${sentinel_ports[0]}
    - 127.0.0.1:${sentinel_ports[1]}
    - 127.0.0.1:${sentinel_ports[2]}
  servers:
    - 127.0.0.1:${redis_ports[0]}:1 shard1
    - 127.0.0.1:${redis_ports[2]}:1 shard2
END
quietly nuthatch.log "$nuthatch" -c "$conf" -a 127.0.0.1 -s "$stats" --workers 2
proxy=$!
await "$listen" nuthatch.log nuthatch

# A failover needs sentinels that know each other and the replicas, which takes them some seconds.
for port in "${sentinel_ports[@]}"; do
  for shard in shard1 shard2; do
    for try in {1..200}; do
      known=$(redis-cli -p "$port" sentinel master "$shard" | paste -sd ' ')
      [[ $known != *' num-slaves 1 num-other-sentinels 2 '* ]] || break
      [ "$try" -lt 200 ] || die "sentinel $port lacks a replica or a sentinel of $shard: $known"
      sleep 0.1
    done
  done
done

# A key of the first shard.
key=$("$nuthatch" locate --no-header -c "$conf" visits:{1..50} | awk -F '\t' '$5 == "shard1" { print $1; exit }')

cat <<END

Nuthatch listens on 127.0.0.1:$listen, in front of
  shard1: master ${redis_ports[0]}, replica ${redis_ports[1]}
  shard2: master ${redis_ports[2]}, replica ${redis_ports[3]}
and follows the sentinels on ${sentinel_ports[*]}.

In a second terminal, write to shard1 and watch:
  while sleep 0.2; do redis-cli -p $listen incr $key; done

In a third, follow the switch in the log:
  tail -f $dir/nuthatch.log

Then move shard1 to its replica, which costs the writer a pause and no error:
  redis-cli -p ${sentinel_ports[0]} sentinel failover shard1
or kill its master, and see errors until the sentinels have agreed on the replica:
  kill -9 ${pids[0]}
What the proxy counts for shard1, before and after:
  curl -s http://127.0.0.1:$stats/stats | grep -o '"shard1": {[^}]*}' | tr ',' '\n'
Everything at once, live, in a browser; and for programs:
  http://127.0.0.1:$stats/ui
  curl -s http://127.0.0.1:$stats/topology
Who is the master now:
  redis-cli -p ${sentinel_ports[0]} sentinel get-master-addr-by-name shard1
Where keys live, which no failover changes:
  $nuthatch locate -c $conf user:1 user:2 user:3 user:4

Configuration: $conf
Log:           $dir/nuthatch.log

A killed server is started again after 15 seconds and follows the new master.
Ctrl-C ends the demo and removes it.
END

# revive INDEX: starts the server whose process was pids[INDEX] again.
revive() {
  local port sentinel=
  if (($1 < ${#redis_ports[@]})); then
    port=${redis_ports[$1]}
  else
    port=${sentinel_ports[$1 - ${#redis_ports[@]}]} sentinel=--sentinel
  fi
  setsid redis-server "$dir/$port.conf" $sentinel >>"$dir/$port.log" 2>&1 </dev/null &
  pids[$1]=$!
  echo "The server on port $port is started again: process $!"
}

# Seconds that each server has been down.
down=()
for ((i = 0; i < servers; i++)); do down+=(0); done
while kill -0 "$proxy" 2>/dev/null; do
  for ((i = 0; i < servers; i++)); do
    if kill -0 "${pids[i]}" 2>/dev/null; then
      down[i]=0
    elif ((++down[i] > 15)); then
      revive "$i"
    fi
  done
  sleep 1
done
cat "$dir/nuthatch.log" >&2
die "nuthatch ended"
