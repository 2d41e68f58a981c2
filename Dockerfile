# pgupkeep with the client programs of one PostgreSQL major, which backups call.
#
#   docker build -t pgupkeep --build-arg PG_MAJOR=17 .
#
# PG_MAJOR, 14 to 18, should be the major of the server that is looked after: an older pg_dump refuses a newer server.
# VERSION and REVISION only label the image. BUILDER names another image to compile in, such as one of your own registry
# that knows your certificates; its C library must not be newer than that of postgres:PG_MAJOR.

ARG PG_MAJOR=16
ARG BUILDER=rust:1-bookworm

FROM ${BUILDER} AS builder
WORKDIR /build
# Dependencies first, against an empty program: they are built again only when the lock file changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs tests/main.rs \
    && cargo build --release --locked --bin pgupkeep
COPY . .
# The empty program's files are newer than what was just copied; without this cargo would keep them.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin pgupkeep \
    && ./target/release/pgupkeep --version

FROM postgres:${PG_MAJOR}
ARG PG_MAJOR
# A user of its own, by a number that the owner of a mounted folder can be set to. The one folder that it may write is that
# of its backups: a new volume that is mounted there takes over the owner.
RUN groupadd --system --gid 10001 pgupkeep \
    && useradd --system --uid 10001 --gid pgupkeep --no-create-home --home-dir /nonexistent \
       --shell /usr/sbin/nologin pgupkeep \
    && install -d -o pgupkeep -g pgupkeep -m 750 /var/backups/pgupkeep
# The server's image knows no certificate authority, and `sslmode=verify-full` needs some.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY schedules.yaml /etc/pgupkeep/schedules.yaml
COPY --from=builder /build/target/release/pgupkeep /usr/local/bin/pgupkeep

# Last, so that another revision with the same program shares every layer.
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="pgupkeep" \
      org.opencontainers.image.description="Looks after PostgreSQL so that nobody has to remember to" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="postgres:${PG_MAJOR}" \
      io.pgupkeep.postgresql-major="${PG_MAJOR}"

# By number, so that an orchestrator can tell that it is not root.
USER 10001:10001
WORKDIR /
# The server's image asks for SIGINT; the daemon drains on SIGTERM, and reloads on SIGHUP.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["pgupkeep", "healthcheck"]
ENTRYPOINT ["pgupkeep"]
CMD ["daemon"]
