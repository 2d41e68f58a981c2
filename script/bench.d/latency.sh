# From the instant a schedule falls due to its start, over 200 firings: pgupkeep, beside Debian's pg_cron and pgAgent.

source "$repository/script/lib/peers.sh"

readonly jobs_together=50
readonly most_milliseconds=1000

# bench [ROUNDS]: each round is 50 jobs that fall due at the same instant. pg_cron's rounds last a minute each, because
# it knows nothing shorter.
bench() {
  local rounds=${1:-4} program
  local settings=("autovacuum = off" "max_connections = 200" "shared_buffers = 128MB")
  [[ "$rounds" =~ ^[1-9][0-9]*$ ]] || die "the number of rounds must be a positive number, not $rounds"

  build_pgupkeep release
  start_bench_cluster "${settings[@]}"
  print_conditions "${settings[@]}"
  print_programs
  echo "  each job inserts one row; every program may start $jobs_together at a time; one program after the other"
  echo "  together: $jobs_together jobs due at the same instant, $rounds times: every 5 s (pg_cron 60 s, pgAgent 23 s)"
  echo "  steady: 20 jobs due every second, for 10 s (the peers cannot: pg_cron 1.4 and pgAgent have no seconds)"
  echo "  pgAgent looks for work every 10 s, as it does by default; its jobs' next instants are set by hand"
  echo "  start: when the program's own record says that it started, minus the instant that it was due"
  echo "  statement: when its statement was about to be sent (pgupkeep), when it ran on the server (the peers)"

  echo "milliseconds after the instant               start                          statement"
  echo "                    firings     p50     p95     p99     max     p50     p95     p99     max   load"
  measure_pgupkeep together "$jobs_together" '*/5 * * * * *' 5 "$rounds"
  measure_pgupkeep steady 20 '* * * * * *' 1 10
  for program in "${peers[@]}"; do "measure_$program" "$rounds"; done
  echo "  load $(cut -d ' ' -f 1-3 /proc/loadavg) when ended"

  for program in "${peers[@]}"; do
    echo "ratio:    p50 $(ratio_of "$program" 50), p99 $(ratio_of "$program" 99) (pgupkeep together / $program, start)"
  done
  judge pgupkeep-together
  judge pgupkeep-steady
}

make_start_table() { sql -d "$1" -c 'create table bench_start (at timestamptz not null default clock_timestamp())'; }

# measure_pgupkeep SHAPE JOBS CRON PERIOD ROUNDS: its entries queue, so that no firing drops out of the figures.
measure_pgupkeep() {
  local shape=$1 jobs=$2 cron=$3 period=$4 rounds=$5 from
  sql -d postgres -c "create database $shape"
  make_start_table "$shape"
  config=$work/$shape.yaml
  {
    printf '%s\n' 'version: 1' "workers: $jobs_together" 'defaults: { overlap: queue }' 'targets:' \
      "  bench: { url: \"env:DATABASE_URL\", max_runs: $jobs_together }" 'jobs:'
    seq "$jobs" | sed 's/.*/  job-&: { kind: sql, with: { statement: "insert into bench_start default values" } }/'
    printf '%s\n' 'schedules:' '  cron:'
    seq "$jobs" | sed "s|.*|    - { job: job-&, cron: \"$cron\" }|"
  } >"$config"
  export DATABASE_URL
  DATABASE_URL=$(cluster_url "$shape")
  start_daemon "$work/daemon.log"
  wait_until "the daemon to know its schedules" 60 knows_entries "$shape" "$jobs"
  from=$(next_boundary "$period" 2)
  wait_until "pgupkeep's firings" $((period * rounds + 60)) all_finished "$shape" \
    "select count(*) from pgupkeep.run where state = 'finished' and $(within due_at "$from" "$period" "$rounds")" \
    $((jobs * rounds))
  stop_daemon 20
  late "$shape" "a.started_at - r.due_at" "pgupkeep.run r join pgupkeep.attempt a using (run_id)
    where r.outcome = 'succeeded' and a.attempt = 1 and $(within r.due_at "$from" "$period" "$rounds")" \
    >"$work/pgupkeep-$shape.start"
  late "$shape" "min(s.sent_at) - r.due_at" "pgupkeep.run r join pgupkeep.step s using (run_id)
    where r.outcome = 'succeeded' and $(within r.due_at "$from" "$period" "$rounds") group by r.run_id" \
    >"$work/pgupkeep-$shape.statement"
  print_late "pgupkeep-$shape" $((jobs * rounds))
}
knows_entries() {
  daemon_runs || { cat "$work/daemon.log" >&2; die "the daemon ended by itself"; }
  [ "$(sql -At -d "$1" -c 'select count(*) from pgupkeep.schedule' 2>/dev/null)" = "$2" ]
}

measure_pg_cron() {
  local rounds=$1 from
  make_start_table cron
  sql -d cron -o /dev/null -c "select cron.schedule('job-' || job, '* * * * *',
    'insert into bench_start default values') from generate_series(1, $jobs_together) job"
  from=$(next_boundary 60 5)
  say "waiting $rounds minutes for pg_cron"
  wait_until "pg_cron's firings" $((60 * rounds + 90)) all_finished cron "select count(*) from cron.job_run_details
    where status = 'succeeded' and $(within start_time "$from" 60 "$rounds")" $((jobs_together * rounds))
  sql -d cron -o /dev/null -c 'select cron.unschedule(jobid) from cron.job'
  # It does not record when a job was due, but that was at a full minute, and all start long before the next.
  late cron "start_time - date_trunc('minute', start_time)" \
    "cron.job_run_details where $(within start_time "$from" 60 "$rounds")" >"$work/pg_cron.start"
  late cron "at - date_trunc('minute', at)" "bench_start where $(within at "$from" 60 "$rounds")" \
    >"$work/pg_cron.statement"
  print_late pg_cron $((jobs_together * rounds))
}

# pgAgent's own arithmetic begins a minute late, so each round gives its jobs their next instant by hand. 23 seconds
# apart, because with a multiple of its ten seconds every round would meet it at the same place.
measure_pgagent() {
  local rounds=$1 round from
  make_start_table agent
  sql -d agent -c "insert into pgagent.pga_job (jobjclid, jobname) select 1, 'job-' || job
      from generate_series(1, $jobs_together) job" \
    -c "insert into pgagent.pga_jobstep (jstjobid, jstname, jstkind, jstcode, jstdbname)
      select jobid, jobname, 's', 'insert into bench_start default values', 'agent' from pgagent.pga_job" \
    -c "insert into pgagent.pga_schedule (jscjobid, jscname, jscstart)
      select jobid, jobname, now() + interval '1 year' from pgagent.pga_job"
  start_pgagent
  for ((round = 1; round <= rounds; round++)); do
    from=$(next_boundary 1 5)
    sql -d agent -c "update pgagent.pga_job set jobnextrun = to_timestamp($from)"
    wait_until "pgAgent's firings" 60 all_finished agent "select count(*) from pgagent.pga_joblog
      where jlgstatus = 's' and jlgstart >= to_timestamp($from)" "$jobs_together"
    late agent "jlgstart - to_timestamp($from)" "pgagent.pga_joblog where jlgstart >= to_timestamp($from)" \
      >>"$work/pgagent.start"
    late agent "at - to_timestamp($from)" "bench_start where at >= to_timestamp($from)" >>"$work/pgagent.statement"
    until [ "$(date +%s)" -ge $((from + 18)) ]; do sleep 0.2; done
  done
  end_pgagent
  print_late pgagent $((jobs_together * rounds))
}

# next_boundary PERIOD SECONDS: the first multiple of the period that is at least so many seconds away, as epoch.
next_boundary() { echo $((($(date +%s) + $2) / $1 * $1 + $1)); }
within() { printf '%s >= to_timestamp(%d) and %s < to_timestamp(%d)' "$1" "$2" "$1" $(($2 + $3 * $4)); }
all_finished() { [ "$(sql -At -d "$1" -c "$2")" -ge "$3" ]; }

# late DATABASE INTERVAL FROM: milliseconds, one a line.
late() { sql -At -d "$1" -c "select round(extract(epoch from $2) * 1000, 1) from $3"; }

# percentile FILE P: the smallest number that P of a hundred do not exceed.
percentile() {
  sort -n "$1" | awk -v p="$2" '{ v[NR] = $1 } END { i = int(p * NR / 100); if (i < p * NR / 100) i++; print v[i] }'
}

# print_late NAME FIRINGS: a line for people; firings that are not on record make it no comparison.
print_late() {
  local figures=() kind p
  [ "$(wc -l <"$work/$1.start")" -eq "$2" ] || die "$1 started $(wc -l <"$work/$1.start") of $2 firings"
  for kind in start statement; do
    for p in 50 95 99 100; do figures+=("$(percentile "$work/$1.$kind" "$p")"); done
  done
  # With the load of its own minute: the programs are measured one after the other, on a machine that may be shared.
  printf '%-18s %8s %7s %7s %7s %7s %7s %7s %7s %7s %6s\n' "$1" "$2" "${figures[@]}" "$(cut -d ' ' -f 1 /proc/loadavg)"
}

ratio_of() { ratio "$(percentile "$work/pgupkeep-together.start" "$2")" "$(percentile "$work/$1.start" "$2")"; }

judge() {
  awk -v name="$1" -v most="$most_milliseconds" -v p99="$(percentile "$work/$1.start" 99)" 'BEGIN {
    printf "aim:      p99 of the start at most %d ms: %s (%s, %s ms)\n",
      most, p99 <= most ? "reached" : "missed", name, p99 }'
}
