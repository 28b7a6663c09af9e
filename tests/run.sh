#!/usr/bin/env bash
# Runs all tests: cargo's, then the client libraries against the proxy and real Redis servers.
set -euo pipefail

usage() {
  cat <<'END'
usage: tests/run.sh [--rust] [--clients] [SUITE...]

  --rust      only cargo's tests
  --clients   only the client libraries, or only the named ones:
              redis-py ioredis node-redis phpredis redis-cli

Missing tools are installed with apt-get when run as root, otherwise listed. Without a chromium the tests of
the page at /ui are skipped; NUTHATCH_SCREENSHOTS=FOLDER keeps pictures of the page. Python and npm packages go to
target/clients. NUTHATCH_BIN tests that binary instead of the one built here; NUTHATCH_SOAK_SECONDS makes
the mixed-load test longer.
END
}

cd "$(dirname "$0")/.."

rust=false clients=false suites=()
while [ $# -gt 0 ]; do
  case $1 in
    --rust) rust=true ;;
    --clients) clients=true ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "unknown option $1" >&2; usage >&2; exit 2 ;;
    *) suites+=("$1") ;;
  esac
  shift
done
if [ ${#suites[@]} -gt 0 ] && ! $clients; then
  echo "suites need --clients" >&2
  exit 2
fi
$rust || $clients || { rust=true; clients=true; }

has() { command -v "$1" >/dev/null; }
has_venv() { has python3 && python3 -c 'import venv, ensurepip' 2>/dev/null; }
has_php_redis() { has php && php -m | grep -qx redis; }

# Packages without which some of cargo's tests are skipped, one per line.
optional() {
  ! $rust || { has promtool && has prometheus; } || echo prometheus
}

# The Debian packages of what is missing, one per line.
missing() {
  has redis-server || echo redis-server
  has redis-cli || echo redis-tools
  has nutcracker || echo nutcracker
  has haproxy || [ -x /usr/sbin/haproxy ] || echo haproxy
  has logrotate || [ -x /usr/sbin/logrotate ] || echo logrotate
  has python3 || echo python3
  if $clients; then
    has_venv || echo python3-venv
    has node || echo nodejs
    has npm || echo npm
    has php || echo php-cli
    has_php_redis || echo php-redis
  fi
}

if ! has cargo; then
  echo "cargo is missing: install Rust from https://rustup.rs" >&2
  exit 1
fi
packages=$(missing) extra=$(optional)
if [ -n "$packages$extra" ] && [ "$(id -u)" = 0 ] && has apt-get; then
  # shellcheck disable=SC2086 # one word per package
  deploy/apt-install.sh $packages $extra || true # checked below
  packages=$(missing) extra=$(optional)
fi
if [ -n "$extra" ]; then
  echo "some tests are skipped without (names of the Debian packages): ${extra//$'\n'/ }" >&2
fi
if [ -n "$packages" ]; then
  echo "missing for the tests (names of the Debian packages): ${packages//$'\n'/ }" >&2
  echo "install them, or run this as root where apt-get can" >&2
  exit 1
fi

# By itself, because not every system has it and the other tests do without.
if $rust && ! has chromium && [ "$(id -u)" = 0 ] && has apt-get; then
  deploy/apt-install.sh chromium || true
fi

status=0
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

if $rust; then
  cargo test --no-fail-fast || status=1
  has chromium || echo "skipped: the page at /ui in a browser, because chromium is missing" >&2
fi

prepare_clients() {
  local dir=$target/clients
  mkdir -p "$dir/node"
  if ! "$dir/venv/bin/python" -c 'import redis' 2>/dev/null \
    || ! cmp -s tests/clients/requirements.txt "$dir/venv/requirements.txt"; then
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
    cp tests/clients/requirements.txt "$dir/venv/"
  fi
  # node finds packages from where a script lies, so the scripts go beside them.
  if ! cmp -s tests/clients/node/package-lock.json "$dir/node/installed-lock.json"; then
    cp tests/clients/node/package*.json "$dir/node/"
    npm --prefix "$dir/node" ci --no-audit --no-fund --ignore-scripts --loglevel=error
    cp tests/clients/node/package-lock.json "$dir/node/installed-lock.json"
  fi
  cp tests/clients/node/*.mjs "$dir/node/"
  export PYTHON=$dir/venv/bin/python NODE_DIR=$dir/node
}

if $clients; then
  prepare_clients
  if [ -z "${NUTHATCH_BIN:-}" ]; then
    cargo build
  fi
  python3 tests/clients/run.py "${NUTHATCH_BIN:-$target/debug/nuthatch}" "${suites[@]}" || status=1
fi

exit $status
