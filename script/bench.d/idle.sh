# What 1,000 schedules cost while nothing is due: memory and CPU of pgupkeep, beside Debian's pg_cron and pgAgent.

source "$repository/script/lib/peers.sh"

readonly idle_jobs=1000
readonly most_megabytes=25 most_percent=0.5

# bench [SECONDS]: all programs idle through the same seconds, on one server, each with a database of its own.
bench() {
  local seconds=${1:-300} settle=60 program
  local settings=("autovacuum = off" "max_connections = 100" "shared_buffers = 128MB")
  [[ "$seconds" =~ ^[1-9][0-9]*$ ]] || die "the number of seconds must be a positive number, not $seconds"
  declare -gA pids=()

  build_pgupkeep release
  start_bench_cluster "${settings[@]}"
  say "starting the programs, $idle_jobs schedules each"
  # Nobody's first firing may come while they are watched.
  quiet_until=$(($(date +%s) + 900 + settle + seconds))
  idle_pgupkeep
  for program in "${peers[@]}"; do "idle_$program"; done

  print_conditions "${settings[@]}"
  print_programs
  echo "  $idle_jobs daily schedules each, none due; $settle s to settle, then $seconds s measured, all together"
  say "settling for $settle seconds"
  pause "$settle"
  for program in pgupkeep "${peers[@]}"; do look_at "$program" before; done
  say "measuring for $seconds seconds"
  pause "$seconds"
  for program in pgupkeep "${peers[@]}"; do look_at "$program" after; done
  require_idleness
  echo "  load $(cut -d ' ' -f 1-3 /proc/loadavg) when ended"

  echo "                 itself                                   its other server processes"
  echo "             RSS MB  PSS MB  peak MB   CPU s  core %   count  PSS MB   CPU s  transactions/s"
  for program in pgupkeep "${peers[@]}"; do print_cost "$program" "$seconds"; done
  for program in "${peers[@]}"; do compare_cost "$program"; done
  awk -v mb="$most_megabytes" -v percent="$most_percent" 'NR == 1 {
    printf "aim:      at most %s MB and %s %% of a core: %s\n", mb, percent,
      $1 <= mb && $5 <= percent ? "reached" : "missed" }' "$work/cost.pgupkeep"
}

# In short sleeps, because a trap waits for the sleep that it falls into.
pause() {
  local end=$((SECONDS + $1))
  while [ "$SECONDS" -lt "$end" ]; do
    daemon_runs || { cat "$work/daemon.log" >&2; die "the daemon ended by itself"; }
    sleep 1
  done
}

# One instant for each schedule, as `hour minute second`, evenly over the day but for the time until `quiet_until`.
spread_instants() {
  awk -v count="$idle_jobs" -v from="$quiet_until" -v left=$((86400 - 900 - (quiet_until - $(date +%s)))) 'BEGIN {
    for (i = 0; i < count; i++) {
      at = (from % 86400 + int(i * left / count)) % 86400
      print int(at / 3600), int(at / 60) % 60, at % 60
    }
  }'
}

idle_pgupkeep() {
  sql -d postgres -c 'create database pgupkeep'
  config=$work/schedules.yaml
  # A job for each schedule, as the others have it.
  {
    printf '%s\n' 'version: 1' 'targets:' '  idle: { url: "env:DATABASE_URL" }' 'jobs:'
    seq "$idle_jobs" | sed 's/.*/  job-&: { kind: sql, with: { statement: "select &" } }/'
    printf '%s\n' 'schedules:' '  daily:'
    spread_instants | awk '{ printf "    - { job: job-%d, at: \"%02d:%02d:%02d\" }\n", NR, $1, $2, $3 }'
  } >"$config"
  export DATABASE_URL
  DATABASE_URL=$(cluster_url pgupkeep)
  start_daemon "$work/daemon.log"
  wait_until "the daemon to know its schedules" 60 knows_schedules
  pids[pgupkeep]=$daemon_pid
}
knows_schedules() {
  daemon_runs || { cat "$work/daemon.log" >&2; die "the daemon ended by itself"; }
  [ "$(sql -At -d pgupkeep -c 'select count(*) from pgupkeep.schedule' 2>/dev/null)" = "$idle_jobs" ]
}

# pg_cron and pgAgent know minutes, no seconds.
idle_pg_cron() {
  spread_instants | awk '{ printf "select cron.schedule(%c%s%c, %c%d %d * * *%c, %cselect %d%c);\n",
    39, "job-" NR, 39, 39, $2, $1, 39, 39, NR, 39 }' >"$work/cron.sql"
  sql -d cron -o /dev/null -f "$work/cron.sql"
  pids[pg_cron]=$(cron_launcher)
}

idle_pgagent() {
  spread_instants | awk '{ print NR "\t" $1 "\t" $2 }' >"$work/instants"
  sql -d agent <<SQL
create temporary table instant (job integer, hour integer, minute integer);
\copy instant from '$work/instants'
insert into pgagent.pga_job (jobjclid, jobname) select 1, 'job-' || job from instant;
insert into pgagent.pga_jobstep (jstjobid, jstname, jstkind, jstcode, jstdbname)
  select jobid, jobname, 's', 'select 1', 'agent' from pgagent.pga_job;
insert into pgagent.pga_schedule (jscjobid, jscname, jscminutes, jschours)
  select jobid, jobname, array(select m = minute from generate_series(0, 59) m order by m),
      array(select h = hour from generate_series(0, 23) h order by h)
    from pgagent.pga_job join instant on jobname = 'job-' || job;
SQL
  start_pgagent
  pids[pgagent]=$pgagent_pid
}

database_of() { case $1 in pg_cron) echo cron ;; pgagent) echo agent ;; *) echo "$1" ;; esac; }

# Ticks of user and system time; 0 for a process that is gone. The name in the file may hold blanks.
ticks() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | awk '{ t = $12 + $13 } END { print t + 0 }'; }
kilobytes() { awk -v key="$2:" '$1 == key { k = $2 } END { print k + 0 }' "/proc/$1/$3" 2>/dev/null || echo 0; }

# look_at PROGRAM before|after: keeps its ticks, those of the server processes of its database, and their transactions.
look_at() {
  local program=$1 database pid
  database=$(database_of "$program")
  ticks "${pids[$program]}" >"$work/$2.ticks.$program"
  sql -At -d postgres -c "select xact_commit + xact_rollback from pg_stat_database where datname = '$database'" \
    >"$work/$2.transactions.$program"
  for pid in $(sql -At -d postgres -c "select pid from pg_stat_activity
      where datname = '$database' and pid <> ${pids[$program]}"); do
    echo "$pid $(ticks "$pid") $(kilobytes "$pid" Pss smaps_rollup)"
  done >"$work/$2.servers.$program"
}

# A firing in between would make the figures those of something else.
require_idleness() {
  local runs
  daemon_runs || { cat "$work/daemon.log" >&2; die "the daemon ended by itself"; }
  runs=$(sql -At -d pgupkeep -c 'select count(*) from pgupkeep.run')
  if [[ " ${peers[*]} " == *" pg_cron "* ]]; then
    runs=$((runs + $(sql -At -d cron -c 'select count(*) from cron.job_run_details')))
  fi
  if [[ " ${peers[*]} " == *" pgagent "* ]]; then
    kill -0 "$pgagent_pid" 2>/dev/null || { cat "$work/pgagent.log" >&2; die "pgAgent ended by itself"; }
    runs=$((runs + $(sql -At -d agent -c 'select count(*) from pgagent.pga_joblog')))
  fi
  [ "$runs" -eq 0 ] || die "$runs schedules fired while the programs should have been idle"
}

# print_cost PROGRAM SECONDS: a line for people, and the figures in $work/cost.PROGRAM.
print_cost() {
  local program=$1 pid=${pids[$1]}
  {
    echo "$(kilobytes "$pid" Rss smaps_rollup) $(kilobytes "$pid" Pss smaps_rollup) $(kilobytes "$pid" VmHWM status)"
    cat "$work/before.ticks.$program" "$work/after.ticks.$program"
    cat "$work/before.transactions.$program" "$work/after.transactions.$program"
    # A connection that was made in between began with no ticks.
    awk 'NR == FNR { before[$1] = $2; next } { ticks += $2 - before[$1]; pss += $3; n++ }
      END { print n + 0, pss + 0, ticks + 0 }' "$work/before.servers.$program" "$work/after.servers.$program"
  } | tr '\n' ' ' | awk -v seconds="$2" -v hertz="$(getconf CLK_TCK)" '{
    mb = 1024 / 1000000; cpu = ($5 - $4) / hertz
    printf "%.1f %.1f %.1f %.2f %.3f %d %.1f %.2f %.2f\n", $1 * mb, $2 * mb, $3 * mb, cpu, 100 * cpu / seconds,
      $8, $9 * mb, $10 / hertz, ($7 - $6) / seconds }' >"$work/cost.$program"
  awk -v name="$program" '{
    printf "%-10s %8s %7s %8s %7s %7s %7s %7s %7s %15s\n", name, $1, $2, $3, $4, $5, $6, $7, $8, $9
  }' "$work/cost.$program"
}

# The program and the server processes that it keeps busy, together: pg_cron lives inside the server, the others do not.
compare_cost() {
  paste -d ' ' "$work/cost.pgupkeep" "$work/cost.$1" | awk -v name="$1" '{
    printf "ratio:    %.2f of the memory (PSS), %s of the CPU, server processes included (pgupkeep / %s)\n",
      ($2 + $7) / ($11 + $16), ($13 + $17 > 0 ? sprintf("%.2f", ($4 + $8) / ($13 + $17)) : "many times"), name }'
}
