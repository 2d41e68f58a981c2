# The steps of script/test-container.

build_product_images() {
  local major
  for major in "${majors[@]}"; do
    build_image "pgupkeep:pg$major" "$clone" --build-arg "PG_MAJOR=$major" --build-arg REVISION=of-this-test
  done
  build_image pgupkeep-pgbouncer:local "$clone/packaging/pgbouncer"
  [ "$with_mlflow" = no ] || { make_python_image; build_image pgupkeep-mlflow:3.17.2 "$clone/packaging/mlflow"; }
}

# in_image MAJOR PROGRAM ARGUMENT...: with as little as a container can have.
in_image() {
  local major=$1 program=$2
  shift 2
  docker run --rm --read-only --network none --cap-drop ALL --security-opt no-new-privileges --entrypoint "$program" \
    "pgupkeep:pg$major" "$@"
}
says() {
  local expected=$1
  shift
  has "$("$@" 2>&1)" "$expected"
}
label() { docker image inspect -f "{{index .Config.Labels \"$1\"}}" "pgupkeep:pg$main_major"; }

check_images() {
  local major
  for major in "${majors[@]}"; do
    check "pg$major: the program runs on a read-only root file system, without capabilities" says '^pgupkeep ' in_image "$major" pgupkeep --version
    check "pg$major: pg_dump is of major $major" says "^pg_dump (PostgreSQL) $major\\." in_image "$major" pg_dump --version
    check "pg$major: the image's own configuration is good" says . \
      docker run --rm --read-only --network none -e DATABASE_URL=postgres://u@h/d "pgupkeep:pg$major" check
  done
  check "it runs as 10001, not as root" says '^uid=10001.* gid=10001' in_image $main_major id
  check "the label of the revision is what the build was told" is "$(label org.opencontainers.image.revision)" of-this-test
  check "the label of the version is the program's" says " $(label org.opencontainers.image.version)\$" in_image $main_major pgupkeep --version
  check "certificate authorities are there for sslmode=verify-full" in_image $main_major test -s /etc/ssl/certs/ca-certificates.crt
  check "nothing of the source is left in the image" in_image $main_major test ! -e /build
}

dc() {
  (cd "$clone" && PGUPKEEP_CONFIG=./test-config "${compose[@]}" -p "$project" "$@")
}
container_of() { docker ps -aq --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1"; }
health_of() { docker inspect -f '{{.State.Health.Status}}' "$(container_of "$1")"; }
is_healthy() { [ "$(health_of "$1")" = healthy ]; }
keeper() { docker exec "$(container_of pgupkeep)" pgupkeep "$@"; }
database() { docker exec -i "$(container_of postgres)" psql -X -qAt -v ON_ERROR_STOP=1 -U mlflow -d "${database_name:-mlflow}" "$@"; }

# write_config LINE...: the shipped file of Compose, with schedules that fire within seconds, and these lines after them.
write_config() {
  mkdir -p "$clone/test-config"
  python3 - "$clone/packaging/compose/schedules.yaml" "$@" >"$clone/test-config/next" <<'PYTHON'
import sys

text = open(sys.argv[1]).read()
head, _ = text.split("schedules:\n")
print(head + "  keeps-busy: { kind: sql, with: { statement: \"select pg_sleep(600)\", transaction: outside } }")
print("schedules:\n  cron:")
for job in ("vacuum-analyze", "reindex", "backup"):
    print(f"    - {{ job: {job}, cron: \"*/10 * * * * *\" }}")
for line in sys.argv[2:]:
    print(line)
PYTHON
  # As an editor does it: a new file in the old one's place.
  mv "$clone/test-config/next" "$clone/test-config/schedules.yaml"
}

compose_up() {
  local config=$work/compose-config
  install -d -m 700 "$clone/secrets"
  password=$(od -An -N18 -tx1 /dev/urandom | tr -d ' \n')
  echo "$password" >"$clone/secrets/postgres_password"
  chmod 644 "$clone/secrets/postgres_password"
  write_config
  check "the file means something with every profile" dc --profile mlflow --profile pgbouncer config
  dc config >"$config" 2>/dev/null || true
  say "docker-compose.yml up"
  local started=$SECONDS
  check "Compose brings it up" dc up -d
  check_until "PostgreSQL is healthy" 60 is_healthy postgres
  check_until "pgupkeep is healthy" 90 is_healthy pgupkeep
  show "healthy after $((SECONDS - started)) s"
  check "PostgreSQL has the settings of the file" is \
    "$(database -c "select string_agg(name || '=' || current_setting(name), ' ' order by name) from pg_settings
      where name in ('work_mem', 'maintenance_work_mem', 'autovacuum')")" \
    "autovacuum=on maintenance_work_mem=256MB work_mem=64MB"
  check "its data are in ./data/postgres" test -s "$clone/data/postgres/PG_VERSION"
  show "limits in force: $(docker inspect -f 'memory {{.HostConfig.Memory}}, nano-cpus {{.HostConfig.NanoCpus}}, reserved {{.HostConfig.MemoryReservation}}' "$(container_of postgres)")"
  check "a parallel index build has the shared memory that maintenance_work_mem needs" database -c \
    "set max_parallel_maintenance_workers = 2; set min_parallel_table_scan_size = 0;
     create table wide as select repeat(md5(g::text), 4) as t from generate_series(1, 300000) g;
     create index wide_t on wide (t)"
}

# Nowhere in what any process on this machine was started with, nor in what the engine tells of a container.
check_privacy() {
  check "the password is in no argument list" not says_the_password ps -eo args
  check "the password is in no environment that docker inspect shows" not says_the_password \
    docker inspect "$(container_of postgres)" "$(container_of pgupkeep)"
  check "the password is not in the log" not says_the_password docker logs "$(container_of pgupkeep)"
}

# The password is looked for by a file: in grep's own arguments it would find itself.
says_the_password() { "$@" >"$work/said" 2>&1 && grep -qFf "$clone/secrets/postgres_password" "$work/said"; }

# enough_runs_of JOB TRIGGER COUNT
enough_runs_of() {
  local found
  found=$(keeper history --json --limit 200 | python3 -c '
import json, sys

job, trigger = sys.argv[1:]
runs = [run for run in json.load(sys.stdin) if run["job"] == job and run["trigger"] == trigger]
print(sum(run["outcome"] == "succeeded" for run in runs), *[run["error"] for run in runs if run["outcome"] == "failed"])
' "$1" "$2") || return 1
  echo "$1 by $2: $found"
  [ "${found%% *}" -ge "$3" ]
}

check_schedules() {
  say "jobs by schedule"
  # An index that is nearly all waste, and a table full of dead rows.
  database <<'SQL'
create table worn (id bigint primary key, t text);
alter table worn set (autovacuum_enabled = off);
insert into worn select g, md5(g::text) from generate_series(1, 500000) g;
create index worn_t on worn (t);
analyze worn;
delete from worn where id % 20 <> 0;
SQL
  local before after
  before=$(database -c "select pg_relation_size('worn_t') / 1024")
  check_until "a scheduled vacuum succeeds" 120 enough_runs_of vacuum-analyze schedule 1
  check_until "it vacuumed the table full of dead rows" 120 database_says t "select vacuum_count > 0 from pg_stat_user_tables where relname = 'worn'"
  check_until "a scheduled reindex succeeds" 120 enough_runs_of reindex schedule 1
  check_until "it rebuilt the index that was waste" 120 database_says t "select pg_relation_size('worn_t') / 1024 < $before / 2"
  after=$(database -c "select pg_relation_size('worn_t') / 1024")
  show "worn_t: $before kB, then $after kB"
  check_until "a scheduled backup succeeds" 180 enough_runs_of backup schedule 1
  check "backup verify reads it back and finds it good" keeper backup verify
  check "it is on the volume of the backups" docker exec "$(container_of pgupkeep)" sh -c 'find /var/backups/pgupkeep -name "manifest*" | grep -q .'
  show "$(keeper backup list 2>&1 | tail -n 3)"
  check "doctor has nothing against it that is an error" doctor_is_content
}
database_says() { local said; said=$(database -c "$2") && is "$said" "$1"; }
doctor_is_content() { local status=0; keeper doctor || status=$?; [ "$status" = 0 ] || [ "$status" = 2 ]; }

check_reload() {
  say "reload by docker kill -s HUP"
  write_config "  reload: [{ job: vacuum-analyze, name: on-demand }]"
  check "the signal is delivered" docker kill -s HUP "$(container_of pgupkeep)"
  check_until "the entry under reload: fires, though the file was replaced and not written to" 60 enough_runs_of vacuum-analyze reload 1
  write_config "  nonsense: here"
  check "the signal is delivered" docker kill -s HUP "$(container_of pgupkeep)"
  check_until "a bad file is refused" 30 log_has 'nonsense'
  check "the daemon goes on" is "$(docker inspect -f '{{.State.Status}} {{.RestartCount}}' "$(container_of pgupkeep)")" "running 0"
  write_config
  docker kill -s HUP "$(container_of pgupkeep)" >/dev/null
}
log_has() { docker logs "$(container_of pgupkeep)" 2>&1 | grep -q "$1"; }

check_confinement() {
  local id
  id=$(container_of pgupkeep)
  check "the root file system is read-only" not docker exec "$id" touch /x
  check "the configuration is read-only" not docker exec "$id" touch /etc/pgupkeep/x
  check "the daemon is process 1, so that signals reach it" says '^pgupkeep' docker exec "$id" cat /proc/1/comm
  check "it has no capabilities and gains none" says 'CapBnd:.0*$' docker exec "$id" grep CapBnd /proc/1/status
}

check_pooler() {
  say "profile pgbouncer"
  check "Compose brings it up" dc --profile pgbouncer up -d
  check_until "it is healthy" 60 is_healthy pgbouncer
  check "the application reaches the database through it" docker exec "$(container_of postgres)" sh -c \
    "PGPASSWORD=\$(cat /run/secrets/postgres_password) psql -XAt -h pgbouncer -p 6432 -U mlflow -d mlflow -c 'select 1'"
  check "a wrong password is refused" not docker exec -e PGPASSWORD=wrong "$(container_of postgres)" \
    psql -XAt -h pgbouncer -p 6432 -U mlflow -d mlflow -c 'select 1'
  check "pgupkeep's sessions go round it" sessions_go_round
}
sessions_go_round() {
  local own pooler
  own=$(address_of pgupkeep)
  pooler=$(address_of pgbouncer)
  is "$(database -c "select count(*) > 0 and bool_and(client_addr = '$own' and client_addr <> '$pooler') from pg_stat_activity
    where application_name like 'pgupkeep%'")" t
}
address_of() { docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$(container_of "$1")"; }

check_mlflow() {
  say "profile mlflow, through the pooler"
  check "Compose brings it up" mlflow_up
  check_until "it is healthy" 240 is_healthy mlflow
  check "a client logs a run through it" docker exec -i "$(container_of mlflow)" python -c '
import mlflow

mlflow.set_tracking_uri("http://mlflow:5000")
with mlflow.start_run() as run:
    for step in range(50):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
assert len(history) == 50, len(history)
'
  check "its sessions are the pooler's" is "$(database -c "select bool_and(client_addr <> '$(address_of mlflow)') from pg_stat_activity where client_addr is not null")" t
  check "the password is in no argument list" not says_the_password ps -eo args
  check_until "a vacuum by schedule succeeds on its tables" 60 enough_runs_of vacuum-analyze schedule 3
}
mlflow_up() { DATABASE_ADDRESS=pgbouncer:6432 dc --profile mlflow --profile pgbouncer up -d; }

# What docs/install.md says about a folder of sockets that two containers share: no network at all.
check_socket() {
  say "a sidecar by socket"
  local server
  printf '%s\n' "$password" >"$work/password"
  chmod 644 "$work/password"
  server=$(docker run -d --network none -v sockets:/var/run/postgresql -v "$work/password:/run/secrets/p:ro" \
    -e POSTGRES_PASSWORD_FILE=/run/secrets/p -e POSTGRES_USER=mlflow -e POSTGRES_DB=mlflow "postgres:$main_major")
  check_until "a server that listens on a socket only is up" 60 docker exec "$server" pg_isready -h 127.0.0.1 -U mlflow
  check "a job is done through the folder of the socket, without a network" docker run --rm --read-only --network none --cap-drop ALL \
    -v sockets:/var/run/postgresql -e 'DATABASE_URL=postgres://mlflow@/mlflow?host=/var/run/postgresql' \
    "pgupkeep:pg$main_major" run vacuum-analyze --local
  docker rm -f -v "$server" >/dev/null
  docker volume rm sockets >/dev/null
}

check_restart() {
  say "the daemon killed from outside"
  local id
  id=$(container_of pgupkeep)
  kill -KILL "$(docker inspect -f '{{.State.Pid}}' "$id")"
  check_until "the engine starts it again" 60 restarted "$id"
  check_until "it is healthy again" 120 is_healthy pgupkeep
}
restarted() { is "$(docker inspect -f '{{.State.Status}} {{.RestartCount}}' "$1")" "running 1"; }

check_stop() {
  say "stop, while a statement of ten minutes runs"
  local id started took
  id=$(container_of pgupkeep)
  keeper run keeps-busy >/dev/null
  check_until "the statement runs" 60 database_says 1 "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active' and pid <> pg_backend_pid()"
  started=$(date +%s%N)
  check "docker compose stop" dc stop pgupkeep
  took=$((($(date +%s%N) - started) / 1000000))
  show "stopped after $took ms"
  check "within the grace, which is 30 s" test "$took" -lt 30000
  check "it left by itself, with 0" is "$(docker inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' "$id")" "0 false"
  check "the statement is not on the server any more" database_says 0 "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()"
  check "the run is queued for the next daemon" database_says queued "select state from pgupkeep.run where job = 'keeps-busy'"
}

check_down() {
  say "down"
  check "Compose takes all of it down" dc --profile mlflow --profile pgbouncer down -v
  check "the data stay in ./data/postgres" test -s "$clone/data/postgres/PG_VERSION"
  check "no container is left" is "$(docker ps -aq)" ""
}

nothing_is_left() {
  engine_mounts | grep . && return 1
  [ ! -e "$work/engine/pid" ] && ! ip netns list | grep -q "pgupkeep-$$\b"
}
