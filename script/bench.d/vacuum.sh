# A whole vacuum and analyze of the demo database by pgupkeep, beside vacuumdb -z on a copy of the same database.

bench() {
  local rounds=${1:-5} round order who
  local settings=("autovacuum = off" "max_wal_size = 8GB" "shared_buffers = 256MB" "maintenance_work_mem = 256MB")
  [[ "$rounds" =~ ^[1-9][0-9]*$ ]] || die "the number of rounds must be a positive number, not $rounds"

  build_pgupkeep release
  start_bench_cluster "${settings[@]}"
  sql -d postgres -c 'create database original'
  say "making the database"
  sql -d original -v runs=2100 -v points=1150000 -f "$repository/script/demo-data.sql"

  # Everything each time, because vacuumdb knows nothing else; counters are not copied with a database anyway.
  config=$work/schedules.yaml
  cat >"$config" <<'YAML'
version: 1
targets:
  copy: { url: "env:DATABASE_URL" }
jobs:
  vacuum-analyze: { kind: vacuum, with: { always: true } }
YAML
  export DATABASE_URL
  DATABASE_URL=$(cluster_url copy)

  print_conditions "${settings[@]}"
  echo "  database: $(sql -At -d original -c "select pg_size_pretty(pg_database_size('original')),
    (select count(*) from metrics) || ' metric points'" | tr '|' ' ')"
  echo "  $rounds rounds; each program gets a fresh copy of the same database; who is first alternates"
  echo "  vacuumdb also visits the system catalogs, pgupkeep also writes its ledger"

  for ((round = 1; round <= rounds; round++)); do
    order=(pgupkeep vacuumdb)
    [ $((round % 2)) -eq 1 ] || order=(vacuumdb pgupkeep)
    for who in "${order[@]}"; do
      fresh_copy original
      "measure_$who" >>"$work/$who"
    done
    echo "  round $round: pgupkeep $(tail -n 1 "$work/pgupkeep") ms, vacuumdb $(tail -n 1 "$work/vacuumdb") ms"
  done

  local ours theirs
  ours=$(median "$work/pgupkeep")
  theirs=$(median "$work/vacuumdb")
  echo "pgupkeep: median $ours ms ($(extremes "$work/pgupkeep"))"
  echo "vacuumdb: median $theirs ms ($(extremes "$work/vacuumdb"))"
  echo "ratio:    $(ratio "$ours" "$theirs") (pgupkeep / vacuumdb)"
}

# The ledger's tables are made before: that happens once in a database's life.
measure_pgupkeep() {
  pgupkeep migrate >/dev/null
  milliseconds pgupkeep run vacuum-analyze --local
}

measure_vacuumdb() { milliseconds client vacuumdb -z -q -d copy; }
