# A suite in shell: each check is a sentence, said when it holds, counted, and never the end of the others.

checks_passed=0
checks_failed=0

# check SENTENCE COMMAND...: what the command prints is shown only when it fails.
check() {
  local sentence=$1
  shift
  if "$@" >"$work/check" 2>&1 </dev/null; then
    checks_passed=$((checks_passed + 1))
    printf '   ok    %s\n' "$sentence"
  else
    checks_failed=$((checks_failed + 1))
    printf '   FAIL  %s\n' "$sentence"
    printf '           %s\n' "$*"
    tail -n 40 "$work/check" | sed 's/^/           /'
  fi
}

# check_until SENTENCE SECONDS COMMAND...: the same, for what becomes true.
check_until() {
  local sentence=$1 limit=$2
  shift 2
  check "$sentence" hold_within "$limit" "$@"
}

hold_within() {
  local limit=$1 started=$SECONDS
  shift
  until "$@"; do
    if [ $((SECONDS - started)) -ge "$limit" ]; then
      echo "waited $limit seconds in vain"
      return 1
    fi
    sleep 0.3
  done
}

show() { printf '         %s\n' "$*"; }
not() { ! "$@"; }
is() { [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1"; return 1; }; }
has() { grep -q -e "$2" <<<"$1" || { printf 'not found: %s\nin: %s\n' "$2" "$1"; return 1; }; }

# The closing line of cargo's own tests, so that script/test counts these with the others.
finish_checks() {
  local verdict=ok
  [ "$checks_failed" -eq 0 ] || verdict=FAILED
  echo "test result: $verdict. $checks_passed passed; $checks_failed failed"
  [ "$checks_failed" -eq 0 ]
}
