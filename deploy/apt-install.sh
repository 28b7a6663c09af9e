#!/usr/bin/env bash
# apt-install.sh PACKAGE...: installs Debian packages, as root, without starting the services in them: we
# need only the programs, and a service may want a port that is someone's.
set -euo pipefail

policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi
# Older lists may still do.
apt-get update -q || true
DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
