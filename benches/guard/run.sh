#!/usr/bin/env bash
# Compares what requests cost, in instructions and system calls, with benches/guard/values.txt.
set -euo pipefail

usage() {
  cat <<'END'
usage: benches/guard/run.sh [--record | --only PART]

  --record      writes what was counted into benches/guard/values.txt instead of comparing with it
  --only PART   only what has PART in its name, such as way/get

Exits with 1 if anything deviates, with 2 if it cannot be counted. Missing tools are installed with
apt-get when run as root, otherwise listed.
END
}

cd "$(dirname "$0")/../.."

arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --record) arguments+=(--record) ;;
    --only) arguments+=(--only "${2:?--only needs a part of a name}"); shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

has() { command -v "$1" >/dev/null; }

# The Debian packages of what is missing, one per line.
missing() {
  has valgrind || echo valgrind
  has strace || echo strace
  has redis-server || echo redis-server
}

if ! has cargo; then
  echo "cargo is missing: install Rust from https://rustup.rs" >&2
  exit 2
fi
packages=$(missing)
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && has apt-get; then
  # shellcheck disable=SC2086 # one word per package
  deploy/apt-install.sh $packages || true # checked below
  packages=$(missing)
fi
if [ -n "$packages" ]; then
  echo "missing for the guard (names of the Debian packages): ${packages//$'\n'/ }" >&2
  echo "install them, or run this as root where apt-get can" >&2
  exit 2
fi

# Of the binary that cargo builds for the guard, not of another one.
unset NUTHATCH_BIN
exec cargo bench --quiet --profile guard --bench guard -- "${arguments[@]}"
