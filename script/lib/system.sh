# What only root may install: Debian's packages, and the unprivileged user that PostgreSQL insists on.

apt_lists_are_fresh=no

# install_packages WHAT-FOR PACKAGE...: installs as root; otherwise says what root would have to do, and fails.
install_packages() {
  local purpose=$1
  shift
  if ! is_root; then
    warn "$purpose needs: $*. Ask an administrator to run: apt-get install $*"
    return 1
  fi
  if ! have apt-get; then
    warn "$purpose needs: $*. There is no apt-get here; install the equivalents by hand"
    return 1
  fi
  if [ "$apt_lists_are_fresh" = no ]; then
    say "refreshing the package lists"
    twice apt-get -qq update >&2 </dev/null || warn "the package lists could not be refreshed"
    apt_lists_are_fresh=yes
  fi
  say "installing for $purpose: $*"
  DEBIAN_FRONTEND=noninteractive twice apt-get -qq install -y --no-install-recommends "$@" >&2 </dev/null
}

# PostgreSQL refuses to run as root, so root lends its servers to an unprivileged user.
choose_server_user() {
  if ! is_root; then
    server_user=$(id -un)
    return
  fi
  server_user=${PGUPKEEP_PG_USER:-postgres}
  if ! id -u "$server_user" >/dev/null 2>&1; then
    say "creating the system user $server_user, as whom test servers run"
    useradd -r -s /usr/sbin/nologin "$server_user"
  fi
}

# Runs a command as the user that owns test servers, in the directory / that everyone may enter.
as_server_user() {
  if is_root; then
    (cd / && runuser -u "$server_user" -- "$@")
  else
    "$@"
  fi
}

# The cache holds what was downloaded. Servers run from it, so their user must be able to enter it: a clone under a
# home directory that is closed to others will not do.
choose_cache() {
  local candidate
  for candidate in "${PGUPKEEP_CACHE:-$repository/.cache}" /var/cache/pgupkeep "/tmp/pgupkeep-cache-$(id -u)"; do
    if mkdir -p "$candidate" 2>/dev/null && [ -O "$candidate" ] && [ -w "$candidate" ] \
      && as_server_user test -r "$candidate/." -a -x "$candidate/."; then
      cache=$candidate
      if [ -n "${PGUPKEEP_CACHE:-}" ] && [ "$cache" != "$PGUPKEEP_CACHE" ]; then
        warn "$PGUPKEEP_CACHE is not a directory that $server_user may enter and you own: using $cache"
      fi
      return
    fi
  done
  die "no directory to keep downloads in: set PGUPKEEP_CACHE to one that $server_user may enter"
}

# The C compiler for the crates that build C, and cargo itself.
require_build_tools() {
  have cargo || die "cargo is not on PATH: install Rust (the version is in Cargo.toml, rust-version)"
  if ! have cc; then
    install_packages "building" gcc libc6-dev || die "a C compiler is needed to build"
  fi
}

# libfaketime is for the clock suite only: without it that suite is skipped.
find_faketime() {
  local pattern='/usr/lib/*/faketime/libfaketime.so.1'
  if [ -n "${PGUPKEEP_FAKETIME_LIB:-}" ]; then return; fi
  if ! compgen -G "$pattern" >/dev/null; then
    install_packages "the clock suite" libfaketime || true
  fi
  if PGUPKEEP_FAKETIME_LIB=$(compgen -G "$pattern" | head -n 1) && [ -n "$PGUPKEEP_FAKETIME_LIB" ]; then
    export PGUPKEEP_FAKETIME_LIB
  else
    unset PGUPKEEP_FAKETIME_LIB
    skip_suite clock "libfaketime is not installed (package libfaketime)"
  fi
}

# pgrep and ps, for tests that look at processes from outside.
find_procps() {
  have ps || install_packages "tests that look at processes" procps \
    || skip_suite processes "ps is not installed (package procps)"
}

# PgBouncer is for the suite that looks through a pooler only: without it that suite is skipped.
find_pgbouncer() {
  have pgbouncer || [ -x /usr/sbin/pgbouncer ] || install_packages "the pooler suite" pgbouncer \
    || skip_suite "doctor behind a pooler" "pgbouncer is not installed (package pgbouncer)"
}
