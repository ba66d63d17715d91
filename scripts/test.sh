#!/bin/bash
# test.sh [SUITE...]: the whole gate, or only the suites named: check build unit runtimes integration. Run as root (sudo npm test):
# the engine needs it. Prepares the machine, prints one line per step and all of what failed, and ends with the line
# "N passed, N failed". Exit code 1 when anything failed. Tests that meet a real kernel and other people's daemons can lose a race on
# a strange machine: what failed is run once more, but no more than RERUNS steps of a gate. If that passes it is printed as flaky,
# with all it said, and counted in the last line. A flaky test is a defect to mend, of the test or of the engine.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
[ "$(id -u)" = 0 ] || { echo "test.sh: the tests run containers and need root: sudo npm test" >&2; exit 1; }
BUN=node_modules/.bin/bun
DENO=node_modules/.bin/deno
LOGS=$(mktemp -d)
trap 'rm -rf "$LOGS"' EXIT
export NO_COLOR=1 FORCE_COLOR=0
passed=0
failed=0
flaky=0
RERUNS=2

# Tests of real containers may wait long on a loaded machine; a hang ends here.
TEST_TIMEOUT_MS=180000
UNIT_TIMEOUT_MS=60000
FILE_TIMEOUT_S=900

want() { # want SUITE ARGS...: named on the command line, or nothing was named
  local suite=$1 name
  shift
  [ $# -gt 0 ] || return 0
  for name; do [ "$name" = "$suite" ] && return 0; done
  return 1
}

# count PATTERN LOG: the sum of the numbers before a word of a runner's summary lines
count() { grep -oE "$1" "$2" | grep -oE '[0-9]+' | awk '{ n += $1 } END { print n + 0 }'; }

# attempt KIND CMD...: runs it into $log; sets ok, bad and rc. KIND says how to count: bun, deno, or one (the exit code is one test)
attempt() {
  local kind=$1
  shift
  timeout --kill-after=20 "$FILE_TIMEOUT_S" "$@" > "$log" 2>&1 < /dev/null
  rc=$?
  case $kind in
    bun)
      ok=$(count '^ *[0-9]+ pass$' "$log")
      bad=$(count '^ *[0-9]+ fail$' "$log")
      ;;
    deno)
      ok=$(count '\| [0-9]+ passed' "$log")
      bad=$(count '\| [0-9]+ failed' "$log")
      ;;
    one)
      ok=$((rc == 0 ? 1 : 0))
      bad=$((rc == 0 ? 0 : 1))
      ;;
  esac
  # A runner that died, timed out or could not load a file counts as a failure even if no test says so.
  if [ $rc != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
}

# said NAME KIND: what a failed attempt printed
said() {
  echo "---- $1, exit code $rc"
  if [ "$2" = one ]; then
    tail -n 200 "$log"
  else
    # Everything but the tests that passed; addresses of package mirrors never get into a log.
    grep -vE '^\(pass\)|^\(skip\)|^\(todo\)' "$log" | tail -n 400
  fi | sed -E 's#https?://[^ ]*(debian|npmjs)[^ ]*#<mirror>#g'
  echo "---- end of $1"
}

# run NAME KIND CMD...: one step of the gate; see attempt for KIND
run() {
  local name=$1 kind=$2 log=$LOGS/log rc ok bad began=$SECONDS note=
  shift 2
  attempt "$kind" "$@"
  if [ "$bad" != 0 ]; then
    said "$name" "$kind"
    if [ "$kind" = bun ] && [ "$RERUNS" -gt 0 ]; then
      RERUNS=$((RERUNS - 1))
      echo "$name: once more"
      attempt "$kind" "$@"
      if [ "$bad" = 0 ]; then
        flaky=$((flaky + 1))
        note="   FLAKY: failed, then passed"
      else
        said "$name, second time" "$kind"
      fi
    fi
  fi
  passed=$((passed + ok))
  failed=$((failed + bad))
  printf '%-44s ok %5d   failed %3d   %4d s%s\n' "$name" "$ok" "$bad" "$((SECONDS - began))" "$note"
}

tests_in() { find "$@" -name '*.test.ts' 2> /dev/null | LC_ALL=C sort; }

# In a function, so that the whole script is read before it runs: it may be edited meanwhile.
main() {
  scripts/setup-test-machine.sh || { echo "0 passed, 1 failed"; exit 1; }
  lock=node_modules/.package-lock.json
  if [ ! -e "$lock" ] || [ package-lock.json -nt "$lock" ]; then
    echo "npm ci"
    npm ci --no-audit --no-fund > "$LOGS/npm" 2>&1 || {
      sed -E 's#https?://[^ ]*#<mirror>#g' "$LOGS/npm" | tail -n 20
      echo "0 passed, 1 failed"
      exit 1
    }
  fi

  # Programs of the embedded images, generated code and the rest of the static gate.
  if want check "$@"; then
    run "check: static gate" one "$BUN" scripts/check.ts
    run "check: built-in images" one "$BUN" scripts/build-images.ts --check
    run "check: programs of the built-in images" one images/build.sh --check
  fi
  if want build "$@" || want integration "$@"; then run "build" one "$BUN" scripts/build.ts; fi
  if want unit "$@"; then
    # A process for each folder: the reaper of platform and shims takes the children of whole processes, so it must not meet
    # tests that start programs in other ways.
    for d in src/* shims scripts test/fakes test/contract test/security test/parity; do
      [ -n "$(tests_in "$d" | sed -n 1p)" ] || continue
      run "unit: $d" bun "$BUN" test --timeout "$UNIT_TIMEOUT_MS" "./$d"
    done
  fi
  if want runtimes "$@" && [ -n "$(tests_in test/runtimes)" ]; then
    run "runtimes: Bun" bun "$BUN" test --timeout "$TEST_TIMEOUT_MS" ./test/runtimes
    # The same files, checked for types elsewhere.
    run "runtimes: Deno" deno "$DENO" test --no-check -A test/runtimes
  fi
  if want integration "$@"; then
    # A process of its own for each file: one that dies takes no other along.
    while read -r file; do
      run "${file#test/}" bun "$BUN" test --timeout "$TEST_TIMEOUT_MS" "./$file"
    done < <(tests_in test/fixtures test/peers test/integration test/faults)
  fi

  echo "$passed passed, $failed failed$([ "$flaky" = 0 ] || echo ", $flaky flaky (see above)")"
  [ "$failed" = 0 ]
}

main "$@"
exit
