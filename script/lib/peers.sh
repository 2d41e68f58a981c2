# The schedulers that pgupkeep is measured beside: pg_cron and pgAgent, from Debian's packages, unpacked and not installed.

# start_bench_cluster SETTING...: a throwaway server with the peers that can be had in `peers`, their databases made.
start_bench_cluster() {
  local major
  peers=() absent=()
  trap 'end_pgagent || clean_up; clean_up' EXIT
  find_peers
  if [ ${#peers[@]} -gt 0 ]; then
    start_cluster "$major" "$@" "shared_preload_libraries = 'pg_cron'" "cron.database_name = 'cron'" \
      "cron.host = '127.0.0.1'" "cron.max_running_jobs = 50"
    sql -d postgres -c 'create database cron' -c 'create database agent'
    sql -d cron -c 'create extension pg_cron'
    sql -d agent -c 'create extension pgagent'
    # It could not start before its database was there, and tries again by itself.
    wait_until "pg_cron's launcher" 30 cron_is_up
  else
    start_cluster "$major" "$@"
  fi
}
cron_launcher() { sql -At -d postgres -c "select pid from pg_stat_activity where backend_type = 'pg_cron launcher'"; }
cron_is_up() { [ -n "$(cron_launcher)" ]; }

# Sets `major`, `peers`, and `absent` with the reason. Debian's packages are unpacked over a copy of a fetched server:
# nothing is installed, no service starts, and it needs no root.
find_peers() {
  local candidate
  major=$(installed_majors | tail -n 1)
  [ -n "$major" ] || die "no PostgreSQL server to measure with"
  if ! have apt-get || ! have dpkg-deb; then
    absent=("pg_cron and pgAgent: they come from Debian's packages, and this is not Debian")
    return
  fi
  if is_root && [ "$apt_lists_are_fresh" = no ]; then
    twice apt-get -qq update >&2 </dev/null || warn "the package lists could not be refreshed"
    apt_lists_are_fresh=yes
  fi
  for candidate in $(installed_majors | sort -rn); do
    apt-cache show "postgresql-$candidate-cron" >/dev/null 2>&1 || continue
    [ -d "$PGUPKEEP_PG_ROOT/$candidate/share/extension" ] || continue
    if [ -e "$cache/peers/$candidate/versions" ] || fetch_peers "$candidate"; then
      major=$candidate
      peers=(pg_cron pgagent)
      export PGUPKEEP_PG_ROOT="$cache/peers"
      return
    fi
  done
  absent=("pg_cron and pgAgent: no package of them could be fetched that fits a fetched server")
}

# fetch_peers MAJOR: into $cache/peers/MAJOR, renamed when complete.
fetch_peers() {
  local partial home file
  mkdir -p "$cache/peers"
  partial=$(mktemp -d "$cache/peers/.$1.XXXXXX")
  home=$partial/home
  say "fetching pg_cron and pgAgent for PostgreSQL $1"
  # pgAgent is linked with two libraries that few machines have.
  if ! (cd "$partial" && twice apt-get -qq -o APT::Sandbox::User=root download "postgresql-$1-cron" pgagent \
    $(apt-cache depends pgagent | awk '$1 == "Depends:" && $2 ~ /^libboost/ { print $2 }') >&2 </dev/null); then
    rm -rf "$partial"
    return 1
  fi
  cp -a "$PGUPKEEP_PG_ROOT/$1" "$home"
  for file in "$partial"/*.deb; do dpkg-deb -x "$file" "$partial/unpacked"; done
  cp -a "$partial/unpacked/usr/lib/postgresql/$1/lib/pg_cron.so" "$home/lib/"
  cp -a "$partial/unpacked/usr/share/postgresql/$1/extension/." "$home/share/extension/"
  cp -a "$partial/unpacked/usr/bin/pgagent" "$home/bin/"
  find "$partial/unpacked/usr/lib" -name 'libboost_*.so.*' -exec cp -a {} "$home/lib/" \;
  for file in "$partial"/postgresql-*.deb "$partial"/pgagent_*.deb; do
    dpkg-deb -W --showformat '${Package} ${Version}\n' "$file"
  done >"$home/versions"
  chmod -R a+rX "$home"
  rm -rf "${cache:?}/peers/$1"
  mv "$home" "$cache/peers/$1"
  rm -rf "$partial"
}

# Looks for work every ten seconds, which is what it does unless told otherwise.
start_pgagent() {
  LD_LIBRARY_PATH="$cluster_library" "$cluster_bin/pgagent" -f -t 10 -l 0 \
    "host=127.0.0.1 port=$cluster_port user=postgres dbname=agent" >"$work/pgagent.log" 2>&1 </dev/null &
  pgagent_pid=$!
}

# Keeps the status it was called with, for the trap.
end_pgagent() {
  local status=$? tries=0
  [ -n "${pgagent_pid:-}" ] || return "$status"
  kill -TERM "$pgagent_pid" 2>/dev/null || true
  while kill -0 "$pgagent_pid" 2>/dev/null && [ $((tries += 1)) -le 100 ]; do sleep 0.1; done
  kill -KILL "$pgagent_pid" 2>/dev/null || true
  wait "$pgagent_pid" 2>/dev/null || true
  pgagent_pid=
  return "$status"
}

print_programs() {
  local line
  echo "  $("$binary" --version), release build"
  if [ ${#peers[@]} -gt 0 ]; then sed 's/^/  Debian: /' "${cluster_bin%/bin}/versions"; fi
  for line in "${absent[@]}"; do echo "  left out: $line"; done
}
