# The steps of script/test-systemd: a machine made of a file tree, booted beside this one.

# The major whose client tools bookworm has.
machine_major=15

# The tree is copied, given systemd, and the files of docs/install.md are put where that page says.
make_machine() {
  local kept=$cache/rootfs/bookworm-systemd partial
  if [ ! -e "$kept/usr/lib/systemd/systemd" ] || [ ! -e "$kept/usr/bin/man" ] ||
    [ ! -e "$kept/usr/lib/postgresql/$machine_major/bin/pg_dump" ]; then
    partial=$(mktemp -d "$cache/rootfs/.systemd.XXXXXX")
    chmod 755 "$partial"
    cp -a "$rootfs/." "$partial"
    cp /etc/resolv.conf "$partial/etc/resolv.conf"
    # Its package sources are those of this machine, where it is of the same release.
    say "installing systemd in the tree"
    if ! chroot "$partial" apt-get -qq update >"$work/apt.log" 2>&1 ||
      ! chroot "$partial" apt-get install -y -qq --no-install-recommends \
        systemd systemd-sysv dbus procps man-db "postgresql-client-$machine_major" >>"$work/apt.log" 2>&1; then
      tail -n 5 "$work/apt.log" >&2
      rm -rf "$partial"
      skip "systemd cannot be installed in a tree of its own"
    fi
    rm -rf "$kept"
    mv "$partial" "$kept"
  fi
  machine=$work/machine
  cp -a "$kept" "$machine"
  install -m 755 "$binary" "$machine/usr/local/bin/pgupkeep"
  install -D -m 644 "$repository/packaging/systemd/pgupkeep.service" "$machine/etc/systemd/system/pgupkeep.service"
  install -D -m 644 "$repository/packaging/man/pgupkeep.1" "$machine/usr/local/share/man/man1/pgupkeep.1"
  # The shipped unit waits for a minute before it takes a process for stuck.
  mkdir -p "$machine/etc/systemd/system/pgupkeep.service.d"
  printf '%s\n' '[Service]' 'WatchdogSec=4' 'RestartSec=1' >"$machine/etc/systemd/system/pgupkeep.service.d/test.conf"
  mkdir -p "$machine/etc/pgupkeep" "$machine/run-postgresql"
  chroot "$machine" useradd --system --user-group --home-dir /var/lib/pgupkeep --shell /usr/sbin/nologin pgupkeep
  chroot "$machine" install -d -o pgupkeep -g pgupkeep -m 700 /var/backups/pgupkeep
  install -m 600 /dev/stdin "$machine/etc/pgupkeep/environment" <<<"DATABASE_URL=postgres://postgres@/app?host=/run-postgresql&port=$cluster_port"
  write_schedules
}

# write_schedules LINE...: replaces the file as an editor does.
write_schedules() {
  {
    printf '%s\n' 'version: 1' 'targets: { app: { url: "env:DATABASE_URL" } }' \
      'repositories: { local: { url: "file:///var/backups/pgupkeep" } }' 'jobs:' '  vacuum: { kind: vacuum }' \
      '  backup: { kind: backup, with: { method: dump, repository: local } }' 'schedules:' \
      '  cron: [ { job: vacuum, cron: "*/5 * * * * *" } ]' \
      '  reload: [ { job: vacuum, name: on-demand }, { job: backup, name: backup-now } ]' "$@"
  } >"$machine/etc/pgupkeep/next"
  chmod 644 "$machine/etc/pgupkeep/next"
  mv "$machine/etc/pgupkeep/next" "$machine/etc/pgupkeep/schedules.yaml"
}

boot_machine() {
  say "booting the machine"
  chmod 755 "$cluster_folder"
  systemd-nspawn --register=no --keep-unit -q -D "$machine" --private-network --bind="$cluster_folder:/run-postgresql" -b \
    </dev/null >"$work/boot.log" 2>&1 &
  machine_pid=$!
  hold_within 60 is_booted
}
is_booted() {
  kill -0 "$machine_pid" 2>/dev/null || return 1
  leader=$(pgrep -P "$machine_pid" | head -n 1) || return 1
  [ -n "$leader" ] && inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'
}
inside() { nsenter -t "$leader" -a "$@"; }
property() { inside systemctl show -P "$1" pgupkeep; }
# runs_of TRIGGER [JOB]
runs_of() {
  sql -At -d app -c "select count(*) from pgupkeep.run where trigger = '$1' and job = '${2:-vacuum}' and outcome = 'succeeded'"
}
# runs_by TRIGGER COUNT [JOB]
runs_by() { local count; count=$(runs_of "$1" "${3:-}" 2>/dev/null) && [ "$count" -ge "$2" ]; }
says_in_journal() { has "$(inside journalctl -u pgupkeep -o cat --no-pager)" "$1" >/dev/null; }

check_unit() {
  say "the unit"
  verified=$(inside systemd-analyze verify /etc/systemd/system/pgupkeep.service 2>&1 || true)
  check "systemd-analyze verify says nothing" is "$verified" ""
  show "$(inside systemd-analyze security --no-pager pgupkeep.service | tail -n 1)"
  check "its exposure is at most 3.0" inside systemd-analyze security --no-pager --threshold=30 pgupkeep.service
}

check_start() {
  say "start"
  check "systemctl start returns when the daemon is ready" inside systemctl start pgupkeep
  check "it is active" is "$(property ActiveState)" active
  # Nothing below means anything without a daemon.
  [ "$(property ActiveState)" = active ] || { inside journalctl -u pgupkeep -o cat --no-pager >&2; die "the unit did not start"; }
  check_until "the status line names the next firing" 20 status_names_next
  show "status: $(property StatusText)"
  check "it runs as no root" not is "$(inside ps -o user= -p "$(property MainPID)")" root
  check_until "a scheduled run succeeds" 60 runs_by schedule 1
}
status_names_next() { has "$(property StatusText)" 'next'; }

check_reload() {
  say "reload"
  local pid
  pid=$(property MainPID)
  check "systemctl reload succeeds" inside systemctl reload pgupkeep
  check_until "the entries under reload: fire" 30 runs_by reload 1
  write_schedules 'nonsense: here'
  inside systemctl reload pgupkeep || true
  check_until "a bad file is told in the journal" 30 says_in_journal nonsense
  check "the same process goes on" is "$(property MainPID)" "$pid"
  check "it is still active" is "$(property ActiveState)" active
  write_schedules
  check "a good file is loaded again" inside systemctl reload pgupkeep
}

check_backup() {
  say "backup"
  check_until "the backup that the reload fired succeeds" 60 runs_by reload 1 backup
  local said
  said=$(inside systemd-run --quiet --pipe --wait -p User=pgupkeep -p EnvironmentFile=/etc/pgupkeep/environment \
    /usr/local/bin/pgupkeep --config /etc/pgupkeep/schedules.yaml backup verify 2>&1 || true)
  show "$said"
  check "the unit's user reads it back whole" has "$said" 'all as they were written'
  check "only its own folders and that of the backups can be written by it" is "$(property ReadWritePaths)" "-/var/backups/pgupkeep"
}

check_watchdog() {
  say "watchdog"
  local pid orphans
  pid=$(property MainPID)
  inside kill -STOP "$pid"
  orphans=$(sql -At -d app -c "select coalesce(string_agg(quote_literal(run_id), ', '), 'null') from pgupkeep.run where state = 'running'")
  check_until "a stopped process is replaced by the watchdog" 60 another_process "$pid"
  check_until "it is active again" 60 is_active
  check "systemd counts one restart" is "$(property NRestarts)" 1
  before=$(runs_of schedule)
  check_until "scheduled runs go on" 60 runs_by schedule $((before + 1))
  check_until "no run is left running by the process that was killed" 90 is_zero \
    "select count(*) from pgupkeep.run where run_id::text in ($orphans) and state = 'running'"
}
another_process() { local now; now=$(property MainPID); [ "$now" != 0 ] && [ "$now" != "$1" ]; }
is_active() { [ "$(property ActiveState)" = active ]; }
is_zero() { [ "$(sql -At -d app -c "$1" 2>/dev/null)" = 0 ]; }

check_journal() {
  say "journal"
  local line
  line=$(inside journalctl -u pgupkeep _COMM=pgupkeep -n 1 -o json --no-pager)
  show "${line:0:160}"
  check "lines carry the unit" has "$line" '"_SYSTEMD_UNIT":"pgupkeep.service"'
  check "lines carry a priority" has "$line" '"PRIORITY":"'
  check "what systemd was told is there" says_in_journal 'Started'
}

check_stop() {
  say "stop"
  local started=$SECONDS
  check "systemctl stop succeeds" inside systemctl stop pgupkeep
  show "stopped within $((SECONDS - started)) s"
  check "it exited with 0" is "$(property ExecMainStatus) $(property Result)" "0 success"
  check "no run is left running" is_zero "select count(*) from pgupkeep.run where state = 'running'"
}
