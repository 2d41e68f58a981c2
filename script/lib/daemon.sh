# The real binary: building it, and starting, watching and ending one daemon. Uses `work` (a scratch folder) and
# `config` (the path of a schedules.yaml) of the script that sources it.

# build_pgupkeep debug|release: sets `binary`.
build_pgupkeep() {
  local flags=()
  [ "$1" = debug ] || flags=(--release)
  say "building ($1)"
  (cd "$repository" && cargo build --quiet --locked --bin pgupkeep "${flags[@]}" </dev/null)
  binary="${CARGO_TARGET_DIR:-$repository/target}/$1/pgupkeep"
  [ -x "$binary" ] || die "the build made no $binary"
}

pgupkeep() { "$binary" --config "$config" "$@"; }

# start_daemon LOGFILE: sets `daemon_pid`. Its lines go to the file.
start_daemon() {
  "$binary" --config "$config" daemon >"$1" 2>&1 </dev/null &
  daemon_pid=$!
}

daemon_runs() { [ -n "${daemon_pid:-}" ] && kill -0 "$daemon_pid" 2>/dev/null; }

# stop_daemon SECONDS: asks it to drain, and fails unless it exits with 0 in time.
stop_daemon() {
  local pid=$daemon_pid status=0
  kill -TERM "$pid"
  wait_until "the daemon to drain" "$1" daemon_is_gone
  wait "$pid" || status=$?
  daemon_pid=
  [ "$status" -eq 0 ] || die "the daemon exited with $status"
}
daemon_is_gone() { ! daemon_runs; }

# For traps: ends the daemon whatever it is doing, and says nothing.
end_daemon() {
  daemon_runs || return 0
  kill -TERM "$daemon_pid" 2>/dev/null || true
  local tries=0
  while daemon_runs && [ $((tries += 1)) -le 100 ]; do sleep 0.1; done
  kill -KILL "$daemon_pid" 2>/dev/null || true
  wait "$daemon_pid" 2>/dev/null || true
  daemon_pid=
}

# wait_until WHAT SECONDS COMMAND...: polls until the command succeeds; fails, saying what it waited for.
wait_until() {
  local what=$1 limit=$2 started=$SECONDS
  shift 2
  until "$@"; do
    if [ $((SECONDS - started)) -ge "$limit" ]; then
      cat "$work/history.error" >&2 2>/dev/null || true
      die "waited $limit seconds in vain for $what"
    fi
    sleep 0.2
  done
}

# wait_for_runs COUNT TRIGGER JOB SECONDS: until history has that many finished runs; fails as soon as one has failed,
# or the daemon is gone.
wait_for_runs() {
  wait_until "$1 finished run(s) of $3 by $2" "$4" enough_runs "$1" "$2" "$3"
}

enough_runs() {
  local count=$1 trigger=$2 job=$3 counts finished bad
  daemon_runs || die "the daemon ended by itself"
  # Reading commands never make the ledger, so at first there may be nothing to read.
  pgupkeep history --json >"$work/history.json" 2>"$work/history.error" || return 1
  counts=$(count_runs "$trigger" "$job") || die "history is not the JSON it should be: $(head -c 400 "$work/history.json")"
  read -r finished bad <<<"$counts"
  [ "$bad" = 0 ] || die "a run of $job ended badly: $(cat "$work/history.json")"
  [ "$finished" -ge "$count" ]
}

# psql reads the JSON itself, so that nothing else is needed: finished runs, and those that went wrong.
count_runs() {
  sql -At -F ' ' -d postgres -v trigger="$1" -v job="$2" -v file="$work/history.json" <<'SQL'
\set history `cat :'file'`
select count(*) filter (where run ->> 'outcome' = 'succeeded'),
    count(*) filter (where run ->> 'outcome' in ('failed', 'partial', 'lost', 'timed_out'))
from jsonb_array_elements(:'history') run
where run ->> 'trigger' = :'trigger' and run ->> 'job' = :'job';
SQL
}
