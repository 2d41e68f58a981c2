# What archived points weigh, column by column, by the length of their series; and the memory of one series of millions.

# bench [POINTS]: of the long series; the issue's size is 6,500,000.
bench() {
  local points=${1:-6500000} settings=("autovacuum = off" "max_wal_size = 16GB" "shared_buffers = 512MB")
  [[ "$points" =~ ^[1-9][0-9]*$ ]] || die "the number of points must be a positive number"
  build_pgupkeep release
  start_bench_cluster "${settings[@]}"
  make_mlflow_database empty
  configure_archive 'vacuum: false, reindex: false'
  print_conditions "${settings[@]}"
  echo "  half of the values are float32, half random doubles, unless it says otherwise; timestamps with jitter"

  local float='case when k % 2 = 0 then (random() * 10)::real::float8 else random() * 10 end' any='random() * 1e6 - 5e5'
  shape "100 points a series" 1000 10 100 "$float" s
  shape "20 points a series" 5000 10 20 "$float" s
  shape "1 point a series" 20000 10 1 "$float" s
  shape "100, values alike: a loss with 4 digits" 1000 10 100 'round((1 / (1 + s * 0.1) + random() * 0.01)::numeric, 4)' s
  shape "100, hostile: random doubles, steps and times" 1000 10 100 "$any" '(random() * 1e9)::bigint'
  shape "one series of $points points" 1 1 "$points" "$float" s
}

# shape NAME RUNS KEYS STEPS VALUE STEP
shape() {
  local runs=$2 keys=$3 steps=$4 jitter='s::bigint * 1000 + (random() * 100)::int'
  [ "$6" = s ] || jitter='(random() * 1e10)::bigint'
  fresh_copy empty
  sql -d copy <<SQL
set synchronous_commit = off;
insert into experiments (experiment_id, name, lifecycle_stage, workspace) values (1, 'bench', 'active', 'default') on conflict do nothing;
insert into runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, experiment_id)
select md5(r::text), 'run ' || r, 'LOCAL', 'bench', 'FINISHED', t, t + 1000, 'active', 1
  from generate_series(1, $runs) r, lateral (select (extract(epoch from now() - interval '300 days') * 1000)::bigint + r * 1000 as t) m;
insert into metrics (key, value, timestamp, run_uuid, step, is_nan)
select 'metric_' || k, $5, start_time - 2000000000000 + 1500000000000 + $jitter, run_uuid, $6, false
  from runs, generate_series(0, $keys - 1) k, generate_series(0, $steps - 1) s on conflict do nothing;
vacuum analyze metrics;
SQL
  pgupkeep migrate >/dev/null
  local count live
  count=$(sql -At -d copy -c 'select count(*) from metrics')
  live=$(sql -At -d copy -c "select round(pg_total_relation_size('metrics')::numeric / count(*), 1) from metrics")
  peak_of "$work/peak" "$binary" --config "$config" run archive --local >"$work/said" 2>&1 || { cat "$work/said" >&2; die "the archival failed"; }
  [ "$(sql -At -d copy -c 'select count(*) from metrics')" = 0 ] || die "not everything moved"
  sql -At -F ' ' -d copy >"$work/columns" <<SQL
select format('select %L, round((%s)::numeric / $count, 2) from archive_store.segments_1', s.columns -> (n - 1) ->> 'name',
       string_agg(format('coalesce(sum(pg_column_size(%I)), 0)', attname), ' + '))
  from pg_attribute, lateral (select substring(attname from '^c([0-9]+)')::int as n) c, archive_store.source s
 where attrelid = 'archive_store.segments_1'::regclass and attnum > 0 and attname ~ '^c[0-9]' and s.source_id = 1
 group by n, s.columns order by n \\gexec
SQL
  local archived
  archived=$(sql -At -d copy -c "select sum(pg_total_relation_size(oid)) from pg_class
    where relnamespace = 'archive_store'::regnamespace and relkind = 'r'")
  awk -v name="$1" -v n="$count" -v live="$live" -v archived="$archived" -v peak="$(cat "$work/peak")" '
    { columns = columns sprintf(", %s %s", $1, $2) }
    END {
      printf "%s: %d points; %.1f bytes live, %.2f archived (%.1f times less), peak %s MiB resident\n", name, n, live, archived / n, live * n / archived, peak
      printf "  by column:%s\n", substr(columns, 2) }' "$work/columns"
}
