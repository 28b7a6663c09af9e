#!/usr/bin/env bash
# Builds the Debian package and prints its path: program, configuration, service, manual pages, completions.
# Needs cargo-deb (cargo install cargo-deb). NUTHATCH_BIN packs that program instead of building one.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deb --version >/dev/null 2>&1; then
  echo "package.sh: cargo-deb is missing: cargo install cargo-deb" >&2
  exit 1
fi
nuthatch=${NUTHATCH_BIN:-}
if [ -z "$nuthatch" ]; then
  cargo build --release --locked --bin nuthatch
  nuthatch=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/nuthatch
fi

# What Cargo.toml lists below target/deploy.
out=target/deploy
rm -rf "$out"
mkdir -p "$out/man"
install -m 755 "$nuthatch" "$out/nuthatch"
"$nuthatch" generate man --out "$out/man"
for shell in bash zsh fish; do
  "$nuthatch" generate completions "$shell" >"$out/$shell"
done
cargo deb --no-build --quiet
