# A dump that counts only after it was read back, beside pg_dump at equal parallelism, alone and followed by a full read.

# bench [ROUNDS] [ROWS]
bench() {
  local rounds=${1:-5} rows=${2:-6000000} round who order
  local settings=("autovacuum = off" "max_wal_size = 8GB" "shared_buffers = 512MB")
  [[ "$rounds" =~ ^[1-9][0-9]*$ && "$rows" =~ ^[1-9][0-9]*$ ]] || die "rounds and rows must be positive numbers"
  jobs=2

  build_pgupkeep release
  # From 16 on pg_dump compresses with Zstandard itself, so that both do the same work.
  start_bench_cluster "${settings[@]}"
  export PATH="$cluster_bin:$PATH" LD_LIBRARY_PATH="$cluster_library"
  sql -d postgres -c 'create database app'
  say "making the database"
  local table
  for table in a b c; do
    sql -d app -v rows="$rows" <<SQL
create table $table as select i as id, md5(i::text) as name, hashint4(i::int) / 7.0::float8 as value,
  now() - i * interval '1 second' as at from generate_series(1, :rows / 3) i;
alter table $table add primary key (id);
SQL
  done
  sql -d app -c 'vacuum (analyze)'

  config=$work/schedules.yaml
  cat >"$config" <<YAML
version: 1
targets:
  app: { url: "env:DATABASE_URL" }
repositories:
  local: { url: "file://$work/backups" }
http: { listen: off }
jobs:
  backup: { kind: backup, with: { repository: local, jobs: $jobs, exclude: [postgres] } }
YAML
  export DATABASE_URL
  DATABASE_URL=$(cluster_url app)
  pgupkeep migrate >/dev/null

  print_conditions "${settings[@]}"
  echo "  database: $(sql -At -d app -c "select pg_size_pretty(pg_database_size('app'))"), $rows rows in three tables; $jobs at a time"
  echo "  pgupkeep: dump, count of every table, pg_restore reads all of it, every file read back and hashed, manifest"
  echo "  bare: pg_dump -Fd --compress=zstd:3 and pg_dumpall --globals-only; with a full read: pg_restore to nowhere, sha256sum"
  echo "  $rounds rounds; the order rotates; caches are left as they are"
  for ((round = 1; round <= rounds; round++)); do
    case $((round % 3)) in
      1) order=(pgupkeep read bare) ;;
      2) order=(read bare pgupkeep) ;;
      0) order=(bare pgupkeep read) ;;
    esac
    for who in "${order[@]}"; do
      rm -rf "$work/bare" "$work/backups"
      mkdir "$work/backups"
      milliseconds "dump_$who" >>"$work/$who.ms"
    done
    echo "  round $round: pgupkeep $(tail -n 1 "$work/pgupkeep.ms") ms, with a full read $(tail -n 1 "$work/read.ms") ms," \
      "bare $(tail -n 1 "$work/bare.ms") ms; load $(cut -d ' ' -f 1 /proc/loadavg)"
  done
  local ours
  ours=$(median "$work/pgupkeep.ms")
  echo "pgupkeep:               median $ours ms ($(extremes "$work/pgupkeep.ms"))"
  echo "pg_dump and full read:  median $(median "$work/read.ms") ms ($(extremes "$work/read.ms"))"
  echo "pg_dump, bare:          median $(median "$work/bare.ms") ms ($(extremes "$work/bare.ms"))"
  echo "ratio:                  $(ratio "$ours" "$(median "$work/read.ms")") (pgupkeep / with a full read)," \
    "$(ratio "$ours" "$(median "$work/bare.ms")") (pgupkeep / bare)"
}

dump_pgupkeep() { pgupkeep run backup --local; }
dump_bare() {
  mkdir -p "$work/bare"
  client pg_dumpall --globals-only -f "$work/bare/globals.sql" &&
    client pg_dump -Fd -j "$jobs" --compress=zstd:3 -f "$work/bare/app" app
}
dump_read() {
  dump_bare && client pg_restore -f /dev/null "$work/bare/app" &&
    find "$work/bare" -type f -print0 | xargs -0 sha256sum >"$work/sums" && sync "$work"/bare/app/* &&
    sha256sum --check --quiet "$work/sums"
}
