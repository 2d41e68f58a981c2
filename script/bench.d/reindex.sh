# Rebuilding every index by pgupkeep, beside reindexdb --concurrently: time, stall of a pgbench, and what a hostile night leaves.

bench() {
  local rounds=${1:-5} rows=${2:-3000000} round order who
  local settings=("autovacuum = off" "max_wal_size = 8GB" "shared_buffers = 256MB" "maintenance_work_mem = 256MB"
    "max_prepared_transactions = 5")
  [[ "$rounds" =~ ^[1-9][0-9]*$ ]] || die "the number of rounds must be a positive number, not $rounds"
  [[ "$rows" =~ ^[1-9][0-9]*$ ]] || die "the number of rows must be a positive number, not $rows"

  build_pgupkeep release
  start_bench_cluster "${settings[@]}"
  sql -d postgres -c 'create database original' -c 'create database pgupkeep'
  say "making the database"
  make_database

  # Everything each time, because reindexdb knows nothing else. The ledger is in a database of its own, so that both
  # programs rebuild exactly the same indexes.
  config=$work/schedules.yaml
  cat >"$config" <<'YAML'
version: 1
targets:
  copy: { url: "env:DATABASE_URL" }
control: { url: "env:CONTROL_URL" }
http: { listen: off }
jobs:
  reindex: { kind: reindex, with: { always: true, min_size: 0B } }
  reindex-until: { kind: reindex, timeout: 20s, retries: 0, with: { always: true, min_size: 0B, max_blocker_wait: 2s } }
YAML
  export DATABASE_URL CONTROL_URL
  DATABASE_URL=$(cluster_url copy)
  CONTROL_URL=$(cluster_url pgupkeep)
  pgupkeep migrate >/dev/null

  print_conditions "${settings[@]}"
  echo "  database: $(sql -At -d original -c "select pg_size_pretty(pg_database_size('original')),
    (select count(*) from pg_index where indrelid >= 16384) || ' indexes of',
    pg_size_pretty((select sum(pg_relation_size(indexrelid)) from pg_index where indrelid >= 16384))" | tr '|' ' ')"
  echo "  $rounds rounds; each program gets a fresh copy of the same database; who is first alternates; one index at a time"

  echo "quiet: wall time in ms"
  for ((round = 1; round <= rounds; round++)); do
    in_turn "$round"
    for who in "${order[@]}"; do
      fresh_copy original
      milliseconds "rebuild_with_$who" >>"$work/$who.quiet"
      expect_no_invalid "$who"
    done
    echo "  round $round: pgupkeep $(tail -n 1 "$work/pgupkeep.quiet"), reindexdb $(tail -n 1 "$work/reindexdb.quiet")"
  done
  report quiet ms

  echo "beside pgbench (4 clients, at most 200 transactions a second): wall time in ms, and latency of a transaction in ms"
  for ((round = 1; round <= rounds; round++)); do
    in_turn "$round"
    for who in nobody "${order[@]}"; do
      fresh_copy original
      write_transaction
      beside_pgbench "$who" 200 "rebuild_with_$who"
      echo "  round $round: $who $(tail -n 1 "$work/$who.ms") ms; p99 $(tail -n 1 "$work/$who.p99"), longest $(tail -n 1 "$work/$who.longest")"
    done
  done
  report ms ms
  for who in nobody pgupkeep reindexdb; do
    echo "$who: p99 median $(median "$work/$who.p99") ms ($(extremes "$work/$who.p99")), longest $(extremes "$work/$who.longest") ms"
  done

  echo "hostile: one table read by an idle transaction, a prepared transaction on another, a third locked in share mode, and"
  echo "  a report's snapshot; each program is told to stop after 20 s, then the holders go, and each has another night"
  for who in pgupkeep reindexdb; do
    fresh_copy original
    hostile "$who"
  done
}

in_turn() {
  order=(pgupkeep reindexdb)
  [ $(($1 % 2)) -eq 1 ] || order=(reindexdb pgupkeep)
}

# Four tables with a primary key and two indexes each, a third of their rows gone.
make_database() {
  local table
  for table in a b c d; do
    sql -d original -v rows="$rows" <<SQL
create table $table (id bigint primary key, name text not null, value double precision not null);
insert into $table select i, md5(i::text), hashint4(i::int) from generate_series(1, :rows / 4) i;
create index ${table}_name on $table (name);
create index ${table}_value on $table (value, id);
delete from $table where id % 3 = 0;
vacuum (analyze) $table;
SQL
  done
}

rebuild_with_pgupkeep() { pgupkeep run reindex --local; }
rebuild_with_reindexdb() { client reindexdb --concurrently -q -d copy; }
rebuild_with_nobody() { sleep 5; }

invalid_indexes() { sql -At -d copy -c "select count(*) from pg_index where not indisvalid"; }
expect_no_invalid() { [ "$(invalid_indexes)" = 0 ] || die "$1 left invalid indexes behind on a quiet night"; }

# report WHAT UNIT: medians and the ratio.
report() {
  local ours theirs
  ours=$(median "$work/pgupkeep.$1")
  theirs=$(median "$work/reindexdb.$1")
  echo "pgupkeep:  median $ours $2 ($(extremes "$work/pgupkeep.$1"))"
  echo "reindexdb: median $theirs $2 ($(extremes "$work/reindexdb.$1"))"
  echo "ratio:     $(ratio "$ours" "$theirs") (pgupkeep / reindexdb)"
}

# A small transaction of reads and writes on all four tables, its latency from when it was due.
write_transaction() {
  cat >"$work/transaction.sql" <<'SQL'
\set id random(1, 100000)
begin;
update a set value = value + 1 where id = :id;
select count(*) from b where value between :id and :id + 10;
insert into c values (-:id - random() * 1e12, 'new', :id) on conflict do nothing;
delete from d where id = :id;
end;
SQL
}

# hostile WHO: what a night of 20 s leaves behind that is held up by others, and what the next one makes of it.
hostile() {
  local who=$1 status=0 rebuilt before
  touch "$work/held"
  sql -d copy -c "begin; insert into b values (-1, 'x', 1); prepare transaction 'in doubt'"
  hold "begin; select count(*) from a where id = 1"
  hold "begin; lock table c in share mode"
  hold "begin isolation level repeatable read; select count(*) from pg_class"
  wait_until "the holders" 30 holders_are_there
  before=$(index_numbers)
  "night_of_$who" >"$work/hostile.$who" 2>&1 </dev/null || status=$?
  rebuilt=$(comm -13 <(printf '%s' "$before") <(index_numbers) | grep -c . || true)
  echo "  $who, held up: exit $status, $rebuilt indexes rebuilt, $(invalid_indexes) invalid ones left; $(holder_count) of 3 holders still there"
  rm "$work/held"
  sql -d copy -c "rollback prepared 'in doubt'"
  wait_until "the holders to go" 30 holders_are_gone
  status=0
  "rebuild_with_$who" >"$work/hostile.$who" 2>&1 </dev/null || status=$?
  echo "  $who, the next night: exit $status, $(invalid_indexes) invalid ones left"
}

# Both are told to stop after 20 s, in the way that each of them has.
night_of_pgupkeep() { pgupkeep run reindex-until --local; }
night_of_reindexdb() { timeout -s INT 20 env LD_LIBRARY_PATH="$cluster_library" "$cluster_bin/reindexdb" --concurrently -q -d copy; }

# hold SQL: a session that does so much and then nothing, until the file is gone.
hold() {
  (
    printf '%s;\n' "$1"
    while [ -e "$work/held" ]; do sleep 0.2; done
  ) | PGAPPNAME=holder client psql -X -q -d copy >/dev/null 2>&1 &
}
holder_count() { sql -At -d copy -c "select count(*) from pg_stat_activity where application_name = 'holder'"; }
holders_are_gone() { [ "$(holder_count)" = 0 ]; }
holders_are_there() {
  [ "$(sql -At -d copy -c "select count(*) from pg_stat_activity where application_name = 'holder'
        and state = 'idle in transaction' and xact_start < now() - interval '3 s'")" = 3 ]
}
index_numbers() { sql -At -d copy -c "select indexrelid from pg_index where indisvalid and indrelid >= 16384 order by indexrelid::text collate \"C\""; }
