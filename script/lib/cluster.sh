# A throwaway PostgreSQL server for the demo and the benches: its own folder and port, stopped and removed at the end.

# start_cluster MAJOR SETTING...: sets `cluster_folder`, `cluster_port`, `cluster_bin`, and PGHOST and friends, so that
# psql and pgupkeep reach it. Call stop_cluster from a trap.
start_cluster() {
  local major=$1 setting attempt
  shift
  cluster_bin="$PGUPKEEP_PG_ROOT/$major/bin"
  cluster_library="$PGUPKEEP_PG_ROOT/$major/lib"
  # In /tmp, where the servers' user may enter and where the path of a socket stays short.
  cluster_folder=$(mktemp -d /tmp/pgupkeep-cluster.XXXXXX)
  chmod 755 "$cluster_folder"
  if is_root; then chown "$server_user" "$cluster_folder"; fi
  server_program initdb -D "$cluster_folder/data" -U postgres -A trust --no-sync -E UTF8 --locale=C.UTF-8 >/dev/null
  for attempt in 1 2 3; do
    cluster_port=$((12000 + (RANDOM * 32768 + RANDOM) % 20000))
    printf '%s\n' "listen_addresses = '127.0.0.1'" "port = $cluster_port" "ssl = off" "timezone = 'UTC'" \
      "unix_socket_directories = '$cluster_folder'" "$@" >"$cluster_folder/settings"
    cat "$cluster_folder/settings" >>"$cluster_folder/data/postgresql.conf"
    if server_program pg_ctl -w -t 60 -D "$cluster_folder/data" -l "$cluster_folder/log" start >/dev/null 2>&1; then
      break
    elif [ "$attempt" = 3 ]; then
      cat "$cluster_folder/log" >&2
      die "the throwaway server did not start"
    fi
  done
  export PGHOST=127.0.0.1 PGPORT=$cluster_port PGUSER=postgres PGSSLMODE=disable PGCONNECT_TIMEOUT=10
}

# Everything a server program needs and nothing else. The library path makes it load its own libpq.
server_program() {
  local program=$1
  shift
  as_server_user env -i PATH="$cluster_bin:/usr/bin:/bin" LD_LIBRARY_PATH="$cluster_library" LANG=C.UTF-8 TZ=UTC \
    "$cluster_bin/$program" "$@"
}

# A client program of the same version, as whoever runs the script.
client() {
  local program=$1
  shift
  LD_LIBRARY_PATH="$cluster_library" "$cluster_bin/$program" "$@"
}
sql() { client psql -X -q -P pager=off -v ON_ERROR_STOP=1 "$@"; }

cluster_url() { printf 'postgres://postgres@127.0.0.1:%s/%s?sslmode=disable' "$cluster_port" "$1"; }

stop_cluster() {
  [ -n "${cluster_folder:-}" ] || return 0
  if [ -f "$cluster_folder/data/postmaster.pid" ]; then
    server_program pg_ctl -w -t 30 -m immediate -D "$cluster_folder/data" stop >/dev/null 2>&1 || true
  fi
  rm -rf "$cluster_folder"
  cluster_folder=
}

# stop_clusters_in FOLDER: ends the servers that killed tests left in their folder, and removes it.
stop_clusters_in() {
  local pidfile pid
  for pidfile in "$1"/*/data/postmaster.pid; do
    [ -f "$pidfile" ] || continue
    pid=$(head -n 1 "$pidfile")
    # Only if the process still is the server of exactly this data directory.
    if [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "${pidfile%/postmaster.pid}" ]; then
      warn "stopping a server that a test left behind: ${pidfile%/data/postmaster.pid}"
      kill -QUIT "$pid" 2>/dev/null || true
      tail --pid="$pid" -s 0.1 -f /dev/null 2>/dev/null & wait $! || true
    fi
  done
  rm -rf "$1"
}
