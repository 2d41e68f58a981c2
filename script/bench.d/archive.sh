# Archiving three quarters of a database made by MLflow, beside the naive script with the same duties and without them.

# bench [ROUNDS] [RUNS]: 100 steps of 10 keys a run; the issue's size is 10,000 runs, 10 M points.
bench() {
  local rounds=${1:-3} runs=${2:-10000} round who order
  local settings=("autovacuum = off" "max_wal_size = 16GB" "shared_buffers = 512MB" "maintenance_work_mem = 256MB"
    "checkpoint_timeout = 30min" "wal_level = replica")
  [[ "$rounds" =~ ^[1-9][0-9]*$ && "$runs" =~ ^[1-9][0-9]*$ ]] || die "rounds and runs must be positive numbers"

  build_pgupkeep release
  start_bench_cluster "${settings[@]}"
  make_mlflow_database original
  say "filling it: $runs runs of 10 keys and 100 steps"
  sql -d original -v runs="$runs" -f "$repository/script/bench.d/archive-data.sql"

  configure_archive

  print_conditions "${settings[@]}"
  echo "  database: $(sql -At -F ' ' -d original -c "select pg_size_pretty(pg_database_size('original')),
    (select count(*) from metrics) || ' metric points,',
    pg_size_pretty(pg_relation_size('metrics')) || ' heap,', pg_size_pretty(pg_indexes_size('metrics')) || ' indexes'")"
  echo "  half the series are float32 values, half random doubles; timestamps with jitter; three quarters of the runs are old"
  echo "  $rounds rounds; each way gets a fresh copy of the same database; the order rotates"
  echo "  duties: a digest comparison before the DELETE, VACUUM (ANALYZE), REINDEX CONCURRENTLY of the three indexes"

  for ((round = 1; round <= rounds; round++)); do
    case $((round % 4)) in
      1) order=(pgupkeep duties reordered naive) ;;
      2) order=(duties reordered naive pgupkeep) ;;
      3) order=(reordered naive pgupkeep duties) ;;
      0) order=(naive pgupkeep duties reordered) ;;
    esac
    for who in "${order[@]}"; do
      fresh_copy original
      "measure_$who" >>"$work/$who"
    done
    echo "  round $round: pgupkeep $(tail -n 1 "$work/pgupkeep") ms, of which moving $(tail -n 1 "$work/moving") ms;" \
      "naive with duties $(tail -n 1 "$work/duties") ms, in our order $(tail -n 1 "$work/reordered") ms," \
      "bare $(tail -n 1 "$work/naive") ms; load $(cut -d ' ' -f 1 /proc/loadavg)"
  done

  local ours moving points
  ours=$(median "$work/pgupkeep")
  moving=$(median "$work/moving")
  points=$(cat "$work/points")
  echo "pgupkeep:           median $ours ms ($(extremes "$work/pgupkeep")) for the whole run"
  echo "  moving, proven:   median $moving ms: $((points * 1000 / moving)) points/s; $(cat "$work/wal") bytes of WAL a point"
  echo "naive with duties:  median $(median "$work/duties") ms ($(extremes "$work/duties"))"
  echo "  in our order:     median $(median "$work/reordered") ms ($(extremes "$work/reordered"))"
  echo "naive, bare:        median $(median "$work/naive") ms ($(extremes "$work/naive"))"
  echo "ratio:              $(ratio "$ours" "$(median "$work/duties")") (pgupkeep / naive with duties)," \
    "$(ratio "$ours" "$(median "$work/reordered")") (in our order), $(ratio "$ours" "$(median "$work/naive")") (pgupkeep / bare)"
  cat "$work/sizes"
  echo "reading:            $(cat "$work/reading")"
  echo "restoring:          $(cat "$work/restoring")"
}

total_bytes() { sql -At -d copy -c "select pg_total_relation_size('$1')"; }

measure_pgupkeep() {
  local before heap after archive
  before=$(total_bytes metrics)
  heap=$(sql -At -d copy -c "select pg_relation_size('metrics')")
  pgupkeep migrate >/dev/null
  milliseconds pgupkeep run archive --local
  # The moves' own time, by the ledger: from the first statement of the first to the end of the last.
  sql -At -d copy -c "select round(1000 * extract(epoch from max(finished_at) - min(sent_at)))
    from pgupkeep.step where step like 'move %'" >>"$work/moving"
  sql -At -d copy -c "select coalesce(sum(rows_affected), 0) from pgupkeep.step
    where step like 'move %' and detail ? 'proven'" >"$work/points"
  sql -At -d copy -c "select round(sum((detail ->> 'wal_bytes')::numeric) / sum(rows_affected)) from pgupkeep.step
    where step like 'move %' and detail ? 'proven'" >"$work/wal"
  after=$(total_bytes metrics)
  archive=$(sql -At -d copy -c "select sum(pg_total_relation_size(oid)) from pg_class
    where relnamespace = 'archive_store'::regnamespace and relkind = 'r'")
  awk -v before="$before" -v heap="$heap" -v after="$after" -v archive="$archive" -v points="$(cat "$work/points")" \
    -v all="$(sql -At -d original -c 'select count(*) from metrics')" 'BEGIN {
      live = before / all; one = archive / points
      printf "size:               %.2f bytes a point in the archive, catalogue included; %.1f live (%.1f heap)\n", one, live, heap / all
      printf "                    %.1f times less than live heap and indexes, %.1f times less than a plain copy of the heap\n", live / one, heap / all / one
      printf "disk:               live %.0f MB before; live %.0f MB and archive %.0f MB after: %.2f of before\n",
        before / 1e6, after / 1e6, archive / 1e6, (after + archive) / before }' >"$work/sizes"
  measure_reading >"$work/reading"
  measure_restoring >"$work/restoring"
}

# A run of 10,000 points in one series, read and restored from SQL as a person would.
measure_reading() {
  local id
  id=$(sql -At -d copy -c "select run_uuid from archive.metrics_of(md5('long')) limit 1")
  sql -At -d copy -c "select count(*) from archive.metrics_of('$id', 'metric_0')" >/dev/null
  sql -d copy -c '\timing on' -c "select count(*), sum(value) from archive.metrics_of('$id', 'metric_0')" |
    awk '/Time/ { printf "a series of 10,000 points in %s ms", $2 }'
}

measure_restoring() {
  pgupkeep archive restore --run "$(printf long | md5sum | cut -d ' ' -f 1)" --json >"$work/restored.json" 2>/dev/null ||
    die "the restore failed: $(cat "$work/restored.json")"
  sql -At -d copy -c "select 'a run of ' || sum(rows_affected) || ' points in ' ||
    round(1000 * extract(epoch from max(finished_at) - min(sent_at))) || ' ms'
    from pgupkeep.step where step like 'restore %'"
}

# The naive script, as people write it: copy, delete, vacuum.
measure_naive() {
  milliseconds naive "" "vacuum metrics;"
}

# The same with what a careful person would add: a comparison of digests before the DELETE, and what follows it.
measure_duties() {
  milliseconds naive "$comparison" "$vacuum $rebuilding"
}

# The same in the order of pgupkeep: what is made anew need not be cleaned.
measure_reordered() {
  milliseconds naive "$comparison" "$rebuilding $vacuum"
}

comparison='
    do $$ declare a numeric; b numeric; begin
      select sum(hashtextextended(t::text, 0)::numeric) into a from metrics t where run_uuid in (select run_uuid from old_runs);
      select sum(hashtextextended(t::text, 0)::numeric) into b from metrics_archive t;
      if a is distinct from b then raise exception $m$the copy differs$m$; end if;
    end $$;'
vacuum='
    vacuum (analyze) metrics;'
rebuilding='
    reindex index concurrently metric_pk;
    reindex index concurrently index_metrics_run_uuid;
    reindex index concurrently index_metrics_run_uuid_key_step;'

naive() {
  sql -d copy <<SQL
begin;
create temporary table old_runs as select run_uuid from runs
  where end_time < extract(epoch from now() - interval '90 days') * 1000 and status = 'FINISHED';
analyze old_runs;
create table metrics_archive as select * from metrics where run_uuid in (select run_uuid from old_runs);
$1
delete from metrics where run_uuid in (select run_uuid from old_runs);
commit;
$2
SQL
}
