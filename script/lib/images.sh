# Stand-ins for the images that our Dockerfiles begin with, under their own names, where none can be pulled: from the
# file tree of rootfs.sh, the servers of postgres.sh and this machine's Rust. What they have in common with the real ones is
# what ours rely on: PATH, users, volumes, the entry point's variables, the stop signal.

make_base_images() {
  local major
  make_rootfs bookworm || return 1
  if ! docker image inspect debian:bookworm-slim >/dev/null 2>&1; then
    say "importing debian:bookworm-slim"
    tar -C "$rootfs" --exclude=./usr/sbin/policy-rc.d -c . \
      | docker import -c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' - debian:bookworm-slim >/dev/null
  fi
  make_rust_image
  for major in "$@"; do make_postgres_image "$major"; done
  docker tag "postgres:$main_major" "postgres:$main_major-alpine"
}

make_rust_image() {
  local context=$work/rust home
  if docker image inspect rust:1-bookworm >/dev/null 2>&1; then return; fi
  home=$(cd "$repository" && rustc --print sysroot)
  mkdir -p "$context/rust"
  tar -C "$home" --exclude=./share -c . | tar -C "$context/rust" -x --no-same-owner
  cat >"$context/Dockerfile" <<'END'
FROM debian:bookworm-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    gcc libc6-dev make pkg-config ca-certificates && rm -rf /var/lib/apt/lists/*
COPY rust /usr/local/rust
ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
  build_image rust:1-bookworm "$context"
  rm -rf "$context"
}

make_postgres_image() {
  local major=$1 context=$work/postgres data=/var/lib/postgresql/data volume=/var/lib/postgresql/data
  if docker image inspect "postgres:$major" >/dev/null 2>&1; then return; fi
  if [ "$major" -ge 18 ]; then
    data=/var/lib/postgresql/$major/docker
    volume=/var/lib/postgresql
  fi
  mkdir -p "$context"
  cp -a "$PGUPKEEP_PG_ROOT/$major" "$context/postgresql"
  cat >"$context/docker-entrypoint.sh" <<'END'
#!/bin/sh
set -eu
if [ "$1" = postgres ]; then
  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" && chown -R postgres:postgres "$PGDATA" && chmod 700 "$PGDATA"
    exec setpriv --reuid postgres --regid postgres --clear-groups "$0" "$@"
  fi
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres}
    initdb -D "$PGDATA" -U "$user" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    { echo "listen_addresses = '*'"; echo "unix_socket_directories = '/var/run/postgresql,/tmp'"; } >>"$PGDATA/postgresql.conf"
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
    createdb -h /var/run/postgresql -U "$user" "${POSTGRES_DB:-$user}"
    pg_ctl -D "$PGDATA" -m fast -w stop
  fi
fi
exec "$@"
END
  chmod 755 "$context/docker-entrypoint.sh"
  cat >"$context/Dockerfile" <<END
FROM debian:bookworm-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\
    libxml2 libxslt1.1 liblz4-1 libzstd1 libssl3 libgssapi-krb5-2 libreadline8 && rm -rf /var/lib/apt/lists/*
RUN groupadd -r postgres --gid=999 && useradd -r -g postgres --uid=999 --home-dir=/var/lib/postgresql postgres \\
    && install -d -o postgres -g postgres -m 1777 /var/lib/postgresql \\
    && install -d -o postgres -g postgres -m 3777 /var/run/postgresql && install -d -o postgres -g postgres -m 1777 $data \\
    && install -d /usr/lib/postgresql && ln -s /opt/postgresql /usr/lib/postgresql/$major
COPY postgresql /opt/postgresql
COPY docker-entrypoint.sh /usr/local/bin/
ENV PG_MAJOR=$major PGDATA=$data
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/$major/bin
VOLUME $volume
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["postgres"]
END
  build_image "postgres:$major" "$context"
  rm -rf "$context"
}

# For packaging/mlflow only: Debian's Python under the name of the official one.
make_python_image() {
  local context=$work/python
  if docker image inspect python:3.12-slim >/dev/null 2>&1; then return; fi
  mkdir -p "$context"
  cat >"$context/Dockerfile" <<'END'
FROM debian:bookworm-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* && python3 -m venv /opt/python
ENV PATH=/opt/python/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
  build_image python:3.12-slim "$context"
  rm -rf "$context"
}
