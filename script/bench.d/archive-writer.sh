# How an application that logs 20 batches of metrics a second fares while its old metrics are archived.

# bench [ROUNDS] [RUNS]
bench() {
  local rounds=${1:-3} runs=${2:-3000} round
  local settings=("autovacuum = off" "max_wal_size = 16GB" "shared_buffers = 512MB" "maintenance_work_mem = 256MB")
  [[ "$rounds" =~ ^[1-9][0-9]*$ && "$runs" =~ ^[1-9][0-9]*$ ]] || die "rounds and runs must be positive numbers"
  build_pgupkeep release
  start_bench_cluster "${settings[@]}"
  make_mlflow_database original
  sql -d original -v runs="$runs" -f "$repository/script/bench.d/archive-data.sql"
  sql -d original <<'SQL'
insert into runs (run_uuid, name, source_type, user_id, status, start_time, lifecycle_stage, experiment_id)
select md5('live' || r), 'live', 'LOCAL', 'bench', 'RUNNING', extract(epoch from now()) * 1000, 'active', 1 from generate_series(1, 20) r;
create sequence logged;
SQL
  configure_archive
  # What MLflow's log_batch sends for 100 metrics of one run.
  cat >"$work/transaction.sql" <<'SQL'
\set r random(1, 20)
begin;
select * from runs where run_uuid = md5('live' || :r);
insert into metrics (key, value, timestamp, run_uuid, step, is_nan)
select 'metric_' || i % 10, random(), extract(epoch from clock_timestamp()) * 1000, md5('live' || :r), nextval('logged'), false
  from generate_series(0, 99) i on conflict do nothing;
select * from latest_metrics where run_uuid = md5('live' || :r) order by key for update;
insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
select 'metric_' || i, random(), extract(epoch from clock_timestamp()) * 1000, currval('logged'), false, md5('live' || :r)
  from generate_series(0, 9) i
on conflict (key, run_uuid) do update set value = excluded.value, timestamp = excluded.timestamp, step = excluded.step;
commit;
SQL
  print_conditions "${settings[@]}"
  echo "  database: $(sql -At -d original -c 'select count(*) from metrics') points; 20 batches of 100 metrics a second, 4 connections"
  echo "  latency of a batch in ms from when it was due; idle: 20 s without pgupkeep; $rounds rounds"
  for ((round = 1; round <= rounds; round++)); do
    fresh_copy original
    pgupkeep migrate >/dev/null
    beside_pgbench idle 20 sleep 20
    beside_pgbench archive 20 pgupkeep run archive --local
    echo "  round $round: idle p50 $(tail -n 1 "$work/idle.p50"), p99 $(tail -n 1 "$work/idle.p99"), longest $(tail -n 1 "$work/idle.longest");" \
      "archiving p50 $(tail -n 1 "$work/archive.p50"), p99 $(tail -n 1 "$work/archive.p99"), longest $(tail -n 1 "$work/archive.longest");" \
      "$(tail -n 1 "$work/archive.ms") ms, load $(cut -d ' ' -f 1 /proc/loadavg)"
  done
  echo "p99: idle median $(median "$work/idle.p99") ms, archiving median $(median "$work/archive.p99") ms:" \
    "ratio $(ratio "$(median "$work/archive.p99")" "$(median "$work/idle.p99")")"
}
