# pgupkeep with the client programs of one PostgreSQL major, which later jobs (backups) call.
#
#   docker build --build-arg PG_MAJOR=17 -t pgupkeep .
#
# PG_MAJOR should be the major of the newest server that is looked after: older client programs refuse newer servers.

ARG PG_MAJOR=16

FROM rust:1-bookworm AS builder
WORKDIR /build
# Queries are checked against the committed descriptions, not against a server.
ENV SQLX_OFFLINE=true
# Dependencies first, against an empty program: they are built again only when the lock file changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs tests/main.rs \
    && cargo build --release --locked --bin pgupkeep
COPY . .
# The empty program's files are newer than what was just copied; without this cargo would keep them.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin pgupkeep

FROM postgres:${PG_MAJOR}
ARG PG_MAJOR
LABEL org.opencontainers.image.title="pgupkeep" \
      org.opencontainers.image.description="The maintenance daemon for PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      io.pgupkeep.postgresql-major="${PG_MAJOR}"

# A user of its own, without a login and without anything to own: the program writes nothing to its image.
RUN groupadd --system --gid 10001 pgupkeep \
    && useradd --system --uid 10001 --gid pgupkeep --no-create-home --home-dir /nonexistent \
       --shell /usr/sbin/nologin pgupkeep
COPY --from=builder /build/target/release/pgupkeep /usr/local/bin/pgupkeep
COPY schedules.yaml /etc/pgupkeep/schedules.yaml

# By number, so that an orchestrator can tell that it is not root.
USER 10001:10001
WORKDIR /
# The server image asks for SIGINT; the daemon drains on SIGTERM, and reloads on SIGHUP.
STOPSIGNAL SIGTERM
ENTRYPOINT ["pgupkeep"]
CMD ["daemon"]
