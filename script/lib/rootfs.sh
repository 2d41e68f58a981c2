# The file tree of a small Debian or Ubuntu, made from packages: what containers and a booted machine are built on where
# no image can be pulled. Needs root.

# make_rootfs SUITE: sets `rootfs`, a tree in the cache that is copied and never changed.
make_rootfs() {
  local suite=$1 partial
  rootfs=$cache/rootfs/$suite
  if [ -e "$rootfs/etc/os-release" ]; then return; fi
  have debootstrap || install_packages "a file tree of its own" debootstrap || return 1
  # Debian's keys, on Ubuntu.
  if [ "$suite" = bookworm ] && [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    install_packages "a file tree of its own" debian-archive-keyring || return 1
  fi
  mkdir -p "$cache/rootfs"
  partial=$(mktemp -d "$cache/rootfs/.$suite.XXXXXX")
  chmod 755 "$partial"
  say "making a file tree of $suite (about a minute)"
  if ! debootstrap --variant=minbase --include=ca-certificates "$suite" "$partial" >"$work/debootstrap.log" 2>&1; then
    tail -n 20 "$work/debootstrap.log" >&2
    rm -rf "$partial"
    return 1
  fi
  # Nothing that is installed in it later is to be started in it.
  printf '#!/bin/sh\nexit 101\n' >"$partial/usr/sbin/policy-rc.d"
  chmod 755 "$partial/usr/sbin/policy-rc.d"
  # What this machine trusts, the tree trusts: package registries may be behind a proxy with a certificate of its own.
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$partial/usr/local/share/ca-certificates/"
    chroot "$partial" update-ca-certificates >/dev/null 2>&1
  fi
  rm -rf "$partial"/var/cache/apt/archives/*.deb
  mv "$partial" "$rootfs"
}

# copy_of_work_tree FOLDER: what is, or would be, committed.
copy_of_work_tree() {
  mkdir -p "$1"
  if have git && git -C "$repository" rev-parse --git-dir >/dev/null 2>&1; then
    git -C "$repository" ls-files -z --cached --others --exclude-standard --deduplicate
  else
    (cd "$repository" && find . -path ./target -prune -o -path ./.cache -prune -o -type f -print0)
  fi | (cd "$repository" && while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done) \
    | tar -C "$repository" --null -T - -c | tar -x -C "$1"
}
