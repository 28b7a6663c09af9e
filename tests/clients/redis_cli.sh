#!/usr/bin/env bash
# redis-cli in the ways people use it, through the proxy.
set -u

cli() { redis-cli -h "$NUTHATCH_HOST" -p "$NUTHATCH_PORT" "$@"; }
auth_cli() { redis-cli -h "$NUTHATCH_HOST" -p "$NUTHATCH_AUTH_PORT" --no-auth-warning "$@"; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# check ACTUAL EXPECTED
check() {
  [ "$1" = "$2" ] && return
  echo "expected '${2:0:200}', got '${1:0:200}'"
  exit 1
}

# check_like ACTUAL PATTERN
check_like() {
  # shellcheck disable=SC2053 # the right side is a pattern
  [[ $1 == $2 ]] && return
  echo "expected something like '${2:0:200}', got '${1:0:200}'"
  exit 1
}

case_plain() {
  check "$(cli PING)" PONG
  check "$(cli SET cli:a 1)" OK
  check "$(cli GET cli:a)" 1
  check "$(cli GET cli:none)" ""
  check "$(cli INCR cli:a)" 2
}

case_inline() {
  check "$(printf 'SET cli:i 1\nGET cli:i\nPING\n' | cli)" $'OK\n1\nPONG'
}

case_resp3() {
  check "$(cli -3 SET cli:3 1)" OK
  check "$(cli -3 GET cli:3)" 1
  check "$(cli -3 DEL cli:3:h)" 0
  check "$(cli -3 HSET cli:3:h f 1)" 1
  check "$(cli -3 --no-raw HGETALL cli:3:h)" '1# "f" => "1"'
}

case_database_0() {
  check "$(cli -n 0 SET cli:n 1)" OK
  check "$(cli -n 0 GET cli:n)" 1
}

case_mset_mget() {
  local keys=() pairs=() values=() n
  for n in $(seq 100); do
    keys+=("cli:m:$n")
    pairs+=("cli:m:$n" "value $n")
    values+=("value $n")
  done
  check "$(cli MSET "${pairs[@]}")" OK
  check "$(cli MGET "${keys[@]}")" "$(printf '%s\n' "${values[@]}")"
  check "$(cli EXISTS "${keys[@]}" cli:none)" 100
  check "$(cli DEL "${keys[@]}")" 100
}

case_pipe() {
  local n
  for n in $(seq 10000); do
    # shellcheck disable=SC2016 # RESP's $ are no variables
    printf '*3\r\n$3\r\nSET\r\n$%d\r\ncli:p:%s\r\n$%d\r\n%s\r\n' $((6 + ${#n})) "$n" ${#n} "$n"
  done >"$dir/pipe"
  check_like "$(cli --pipe <"$dir/pipe" 2>&1)" '*errors: 0, replies: 10000*'
  check "$(cli GET cli:p:10000)" 10000
}

case_binary() {
  printf '\000\001\r\n\377\376x' >"$dir/value"
  check "$(cli -x SET $'cli:\r\n\xff' <"$dir/value")" OK
  # redis-cli ends raw output with a line end of its own.
  check "$(cli GET $'cli:\r\n\xff' | head -c -1 | od -An -tx1)" "$(od -An -tx1 <"$dir/value")"
}

case_large() {
  head -c 16777216 /dev/urandom >"$dir/large"
  check "$(cli -x SET cli:l <"$dir/large")" OK
  check "$(cli STRLEN cli:l)" 16777216
  check "$(cli GET cli:l | head -c -1 | sha256sum)" "$(sha256sum <"$dir/large")"
  check "$(cli DEL cli:l)" 1
}

case_error_keeps_connection() {
  check_like "$(printf 'SET cli:s x\nNOSUCHCOMMAND\nLPUSH cli:s y\nGET cli:s\n' | cli 2>&1)" \
    $'OK\nERR *\nWRONGTYPE *\nx'
}

case_auth() {
  check "$(auth_cli -a "$NUTHATCH_PASSWORD" SET cli:auth 1)" OK
  check "$(auth_cli -3 -a "$NUTHATCH_PASSWORD" GET cli:auth)" 1
}

case_auth_refused() {
  check_like "$(auth_cli GET cli:auth 2>&1)" '*NOAUTH*'
  check_like "$(auth_cli -a wrong GET cli:auth 2>&1)" '*AUTH failed*NOAUTH*'
}

for name in $(compgen -A function case_); do
  # A subshell: check ends the case, not the script.
  if why=$("$name" 2>&1); then
    echo "PASS ${name#case_}"
  else
    echo "FAIL ${name#case_}: ${why//$'\n'/ }"
  fi
done
