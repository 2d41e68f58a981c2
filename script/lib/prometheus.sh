# Prometheus and promtool, for the suites that let the real ones read /metrics and the alerts.

# find_prometheus: exports PGUPKEEP_PROMETHEUS, a folder with both programs. They come from Debian's package, unpacked and
# not installed: no service is started, and it needs no root. Without them those suites are skipped by name.
find_prometheus() {
  local partial
  if [ -n "${PGUPKEEP_PROMETHEUS:-}" ]; then return; fi
  if have prometheus && have promtool; then
    PGUPKEEP_PROMETHEUS=$(dirname "$(command -v promtool)")
    export PGUPKEEP_PROMETHEUS
    return
  fi
  if [ ! -x "$cache/prometheus/promtool" ] || [ ! -x "$cache/prometheus/prometheus" ]; then
    if ! have apt-get || ! have dpkg-deb; then
      skip_suite prometheus "it comes from Debian's package, and this is not Debian"
      return
    fi
    if is_root && [ "$apt_lists_are_fresh" = no ]; then
      twice apt-get -qq update >&2 </dev/null || warn "the package lists could not be refreshed"
      apt_lists_are_fresh=yes
    fi
    say "fetching Prometheus"
    partial=$(mktemp -d "$cache/.prometheus.XXXXXX")
    if ! (cd "$partial" && twice apt-get -qq -o APT::Sandbox::User=root download prometheus >&2 </dev/null \
      && dpkg-deb -x prometheus_*.deb unpacked); then
      rm -rf "$partial"
      skip_suite prometheus "its package could not be fetched"
      return
    fi
    rm -rf "${cache:?}/prometheus"
    mv "$partial/unpacked/usr/bin" "$cache/prometheus"
    rm -rf "$partial"
  fi
  export PGUPKEEP_PROMETHEUS="$cache/prometheus"
}
