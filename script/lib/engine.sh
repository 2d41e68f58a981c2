# A Docker engine of our own: its programs from Debian's packages, unpacked and not installed, so that no service starts and
# the machine's own engine and network stay as they are. It works twice on the same folder: first on the machine's
# network, to build; then in a network namespace, where containers meet on a bridge as they do everywhere.

# find_engine: puts dockerd and docker on PATH, or fails.
find_engine() {
  local library missing
  if ! have dockerd || ! have containerd || ! have runc; then
    [ -x "$cache/engine/usr/sbin/dockerd" ] || fetch_engine || return 1
    PATH=$cache/engine/usr/bin:$cache/engine/usr/sbin:$PATH
  fi
  have iptables || install_packages "the container suite" iptables || return 1
  have ip || install_packages "the container suite" iproute2 || return 1
  missing=$(ldd "$(command -v dockerd)" | awk '/not found/ { print $1 }')
  for library in $missing; do
    case $library in
      libdevmapper.so.*) install_packages "the container engine" libdevmapper1.02.1 || return 1 ;;
      *) warn "the container engine lacks $library"; return 1 ;;
    esac
  done
}

fetch_engine() {
  local partial names=() name file
  have apt-get && have dpkg-deb || { warn "there is no Docker engine here, and this is not Debian"; return 1; }
  if [ "$apt_lists_are_fresh" = no ]; then
    twice apt-get -qq update >&2 </dev/null || warn "the package lists could not be refreshed"
    apt_lists_are_fresh=yes
  fi
  # Some releases have the client in a package of its own.
  for name in docker.io docker-cli containerd runc tini; do
    if apt-cache show "$name" >/dev/null 2>&1; then names+=("$name"); fi
  done
  partial=$(mktemp -d "$cache/.engine.XXXXXX")
  say "fetching a container engine: ${names[*]}"
  if ! (cd "$partial" && twice apt-get -qq -o APT::Sandbox::User=root download "${names[@]}" >&2 </dev/null); then
    rm -rf "$partial"
    return 1
  fi
  for file in "$partial"/*.deb; do
    dpkg-deb -x "$file" "$partial/unpacked"
  done
  chmod 755 "$partial/unpacked"
  rm -rf "${cache:?}/engine"
  mv "$partial/unpacked" "$cache/engine"
  rm -rf "$partial"
}

# find_compose: sets `compose`, an array that starts Compose of either generation.
find_compose() {
  if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
  elif have docker-compose; then
    compose=(docker-compose)
  elif install_packages "the container suite" docker-compose || install_packages "the container suite" docker-compose-v2; then
    if have docker-compose; then compose=(docker-compose); else compose=(docker compose); fi
  else
    return 1
  fi
}

# start_engine building|running: sets DOCKER_HOST. Images and layers stay in the cache between runs.
start_engine() {
  local before=() options=()
  engine_data=$cache/engine-data
  mkdir -p "$engine_data" "$work/engine"
  if [ "$1" = building ]; then
    options=(--iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bridge=none)
  else
    engine_namespace=pgupkeep-$$
    ip netns add "$engine_namespace"
    ip netns exec "$engine_namespace" ip link set lo up
    # Not `ip netns exec`, which would give it a /sys without the control groups.
    before=(nsenter "--net=/run/netns/$engine_namespace")
  fi
  export DOCKER_HOST=unix://$work/engine/socket
  # A session of its own, or Ctrl-C would end it before its containers are.
  setsid "${before[@]}" dockerd "${options[@]}" --data-root "$engine_data" --exec-root "$work/engine/exec" -H "$DOCKER_HOST" \
    --pidfile "$work/engine/pid" --oom-score-adjust 0 >>"$work/engine/log" 2>&1 </dev/null &
  if ! hold_within 60 docker version >/dev/null 2>&1; then
    tail -n 20 "$work/engine/log" >&2
    return 1
  fi
}

# Ends the engine that we started, by its pid, with all its containers; takes back every mount and the namespace.
stop_engine() {
  local pid containers mounted
  [ -f "$work/engine/pid" ] || { end_namespace; return 0; }
  pid=$(cat "$work/engine/pid")
  containers=$(docker ps -aq 2>/dev/null) || containers=
  # shellcheck disable=SC2086  # one word a container
  [ -z "$containers" ] || docker rm -f -v $containers >/dev/null 2>&1 || true
  kill -TERM "$pid" 2>/dev/null || true
  hold_within 60 not kill -0 "$pid" >/dev/null 2>&1 || kill -KILL "$pid" 2>/dev/null || true
  rm -f "$work/engine/pid"
  while read -r mounted; do
    umount -l "$mounted" 2>/dev/null || true
  done < <(engine_mounts | sort -r)
  end_namespace
}

engine_mounts() { awk -v a="$work/" -v b="${engine_data:-/nonexistent}/" 'index($2, a) == 1 || index($2, b) == 1 { print $2 }' /proc/mounts; }

end_namespace() {
  [ -n "${engine_namespace:-}" ] || return 0
  ip netns del "$engine_namespace" 2>/dev/null || true
  engine_namespace=
}

# build_image TAG FOLDER [OPTION...]: with the machine's network, where package registries are.
build_image() {
  local tag=$1 folder=$2 started=$SECONDS
  shift 2
  say "building $tag"
  # Engines from 23 on want a plugin for BuildKit, which need not be there.
  local kit=1
  if [ "$(docker version --format '{{.Client.Version}}' | cut -d . -f 1)" -ge 23 ] && ! docker buildx version >/dev/null 2>&1; then
    kit=0
  fi
  if ! DOCKER_BUILDKIT=$kit docker build --network host -t "$tag" "$@" "$folder" >"$work/build.log" 2>&1 </dev/null; then
    tail -n 40 "$work/build.log" >&2
    die "$tag could not be built"
  fi
  show "$tag: $(docker image inspect -f '{{.Size}}' "$tag" | awk '{ printf "%d MB", $1 / 1e6 }'), $((SECONDS - started)) s"
}
