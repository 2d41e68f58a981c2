# Measuring and reporting: wall-clock milliseconds, medians, and the conditions that every figure is read with.

# milliseconds COMMAND...: prints how long the command took; what it prints goes to "$work/measured".
milliseconds() {
  local began=${EPOCHREALTIME//[!0-9]/} ended
  "$@" >"$work/measured" 2>&1 </dev/null || { cat "$work/measured" >&2; die "this failed while measured: $*"; }
  ended=${EPOCHREALTIME//[!0-9]/}
  echo $(((ended - began) / 1000))
}

# median FILE: of the numbers in it, one a line.
median() {
  sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
extremes() { sort -n "$1" | awk 'NR == 1 { low = $1 } END { print low " to " $1 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

# What the machine is and how busy it was: figures without these mean nothing.
print_conditions() {
  echo "conditions:"
  echo "  $(nproc) cores, $(awk '/MemTotal/ { printf "%.0f GiB memory", $2 / 1048576 }' /proc/meminfo)," \
    "load $(cut -d ' ' -f 1-3 /proc/loadavg) when started, $(uname -sr)"
  echo "  PostgreSQL $(sql -At -d postgres -c 'show server_version'), $*"
}

# start_bench_cluster SETTING...: of major 16, for that is what the figures of docs/benchmarks.md are of, or else the newest.
start_bench_cluster() {
  local major
  major=$(installed_majors | grep -x 16 || installed_majors | tail -n 1)
  [ -n "$major" ] || die "no PostgreSQL server to measure with"
  start_cluster "$major" "$@"
}

# make_mlflow_database NAME: an empty one, by MLflow's own migration.
make_mlflow_database() {
  find_mlflow
  [ -n "${PGUPKEEP_MLFLOW_PYTHON:-}" ] || die "MLflow's own migration makes the database, and it cannot be had"
  sql -d postgres -c "create database $1"
  say "making MLflow's tables"
  MLFLOW_DISABLE_TELEMETRY=true "$PGUPKEEP_MLFLOW_PYTHON" -m mlflow db upgrade \
    "postgresql+psycopg2://postgres@127.0.0.1:$cluster_port/$1" >"$work/mlflow.log" 2>&1 ||
    die "MLflow could not make its tables: $(tail -n 5 "$work/mlflow.log")"
}

# fresh_copy ORIGINAL: makes the database `copy` anew, as that one is. By files where the server can: a copy that went through
# the WAL would leave the next checkpoints something to do.
fresh_copy() {
  sql -d postgres -c 'set client_min_messages = warning' -c 'drop database if exists copy'
  sql -d postgres -c "create database copy template $1 strategy file_copy" 2>/dev/null ||
    sql -d postgres -c "create database copy template $1"
  sql -d postgres -c checkpoint
}

# configure_archive [PARAMETERS]: a job `archive` for the database `copy`, by MLflow's preset and those parameters.
configure_archive() {
  config=$work/schedules.yaml
  cat >"$config" <<YAML
version: 1
targets:
  copy: { url: "env:DATABASE_URL", preset: mlflow }
jobs:
  archive: { kind: archive, with: { preset: mlflow, older_than: 90days${1:+, $1} } }
YAML
  export DATABASE_URL
  DATABASE_URL=$(cluster_url copy)
}

# peak_of FILE COMMAND...: runs it, and writes the most memory that it had resident, in MiB.
peak_of() {
  local file=$1
  shift
  python3 - "$file" "$@" <<'PYTHON'
import resource, subprocess, sys

status = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    print(round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1), file=file)
sys.exit(status)
PYTHON
}

# percentile SHARE: of numbers, one a line, sorted.
percentile() { awk -v share="$1" '{ v[NR] = $1 } END { at = int(NR * share); if (at < 1) at = 1; printf "%.1f\n", v[at] }'; }

# beside_pgbench NAME RATE COMMAND...: the command, while 4 clients send "$work/transaction.sql" to the database `copy` so
# many times a second. Adds its wall time to NAME.ms, and the transactions' latency in ms from when each was due to
# NAME.p50, NAME.p99 and NAME.longest.
beside_pgbench() {
  local name=$1 rate=$2 pid
  shift 2
  rm -f "$work"/latency.*
  (cd "$work" && exec env LD_LIBRARY_PATH="$cluster_library" "$cluster_bin/pgbench" -n -f transaction.sql -c 4 -j 1 -R "$rate" -T 600 \
    -l --log-prefix=latency copy >"$work/pgbench.log" 2>&1 </dev/null) &
  pid=$!
  wait_until "pgbench's first transactions" 30 pgbench_works
  milliseconds "$@" >>"$work/$name.ms"
  # SIGINT would be ignored by a program in the background.
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  # The log's third field is the latency in microseconds; its last line may be torn.
  cat "$work"/latency.* | sed '$d' | awk 'NF >= 6 { print $3 / 1000 }' | sort -n >"$work/sorted"
  percentile 0.5 <"$work/sorted" >>"$work/$name.p50"
  percentile 0.99 <"$work/sorted" >>"$work/$name.p99"
  percentile 1 <"$work/sorted" >>"$work/$name.longest"
}
pgbench_works() { cat "$work"/latency.* 2>/dev/null | grep -q .; }
