-- An MLflow backend store without MLflow: its own tables, constraints and indexes (as MLflow 3.17.2 makes them), filled
-- with what real ones hold, then changed as real ones are, so that maintenance has something to do.
--
--   psql -v ON_ERROR_STOP=1 -v runs=2100 -v points=1150000 -d DATABASE -f script/demo-data.sql
--
-- runs: how many runs are logged. points: about how many metric points, a tenth of which is purged again.

set client_min_messages = warning;
set synchronous_commit = off;
-- The same data each time.
select setseed(0.4217) \g /dev/null

-- Tables -------------------------------------------------------------------------------------------------------------

create table alembic_version (version_num varchar(32) not null constraint alembic_version_pkc primary key);
insert into alembic_version values ('dc11669786a5');

create table experiments (
    experiment_id serial constraint experiment_pk primary key,
    name varchar(256) not null,
    artifact_location varchar(256),
    lifecycle_stage varchar(32) constraint experiments_lifecycle_stage check (lifecycle_stage in ('active', 'deleted')),
    creation_time bigint,
    last_update_time bigint,
    workspace varchar(63) default 'default' not null,
    constraint uq_experiments_workspace_name unique (workspace, name)
);

create table runs (
    run_uuid varchar(32) not null constraint run_pk primary key,
    name varchar(250),
    source_type varchar(20)
        constraint source_type check (source_type in ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')),
    source_name varchar(500),
    entry_point_name varchar(50),
    user_id varchar(256),
    status varchar(9)
        constraint runs_status_check check (status in ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING', 'KILLED')),
    start_time bigint,
    end_time bigint,
    source_version varchar(50),
    lifecycle_stage varchar(20) constraint runs_lifecycle_stage check (lifecycle_stage in ('active', 'deleted')),
    artifact_uri varchar(200),
    experiment_id integer references experiments,
    deleted_time bigint
);

create table metrics (
    key varchar(250) not null,
    value double precision not null,
    "timestamp" bigint not null,
    run_uuid varchar(32) not null,
    step bigint default 0 not null,
    is_nan boolean default false not null
);

create table latest_metrics (
    key varchar(250) not null,
    value double precision not null,
    "timestamp" bigint,
    step bigint not null,
    is_nan boolean not null,
    run_uuid varchar(32) not null
);

-- What decides whether a run may be archived.
create table experiment_tags (
    key varchar(250) not null, value varchar(5000), experiment_id integer not null references experiments,
    constraint experiment_tag_pk primary key (key, experiment_id)
);
create table model_versions (
    name varchar(256) not null, version integer not null, run_id varchar(32), source varchar(500),
    current_stage varchar(20), workspace varchar(63) default 'default' not null,
    constraint model_version_pk primary key (workspace, name, version)
);
create table trace_info (
    request_id varchar(50) not null constraint trace_info_pk primary key,
    experiment_id integer not null references experiments, timestamp_ms bigint not null, execution_time_ms bigint,
    status varchar(50) not null
);

create table params (key varchar(250) not null, value varchar(8000) not null, run_uuid varchar(32) not null);
create table tags (key varchar(250) not null, value varchar(8000), run_uuid varchar(32) not null);

-- Rows ---------------------------------------------------------------------------------------------------------------

insert into experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)
select name, 'mlflow-artifacts:/' || n, 'active', t, t
from (
    select n, extract(epoch from now() - interval '420 days')::bigint * 1000 as t,
        (array['Default', 'churn-model', 'Größe/übung', 'ranking v2', 'llm-eval'])[n] as name
    from generate_series(1, 5) n
) named;

-- One run every few hours of the last 400 days; one in twenty is deleted, some failed, the newest still run.
create temporary table logged as
select n,
    md5('run ' || n) as run_uuid,
    1 + n % 5 as experiment_id,
    (extract(epoch from now() - (interval '400 days') * ((:runs - n) / :runs::float8)) * 1000)::bigint as started,
    n % 20 = 7 as deleted,
    case when n > :runs - 3 then 'RUNNING' when n % 17 = 0 then 'FAILED' when n % 29 = 0 then 'KILLED' else 'FINISHED' end
        as status,
    -- A quarter of the runs are long; all together they have about the wanted number of points over ten keys.
    greatest(2, (case when n % 4 = 0 then 2.5 else 0.55 end * :points / :runs / 10)::int) as steps
from generate_series(1, :runs) n;

insert into runs
select run_uuid, (array['brave', 'calm', 'eager', 'quiet', 'wild'])[1 + n % 5] || '-' || n,
    (array['LOCAL', 'NOTEBOOK', 'JOB', 'PROJECT', 'UNKNOWN'])[1 + n % 5], 'train.py', null, 'user' || n % 9, status, started,
    case when status <> 'RUNNING' then started + steps * 1000 end, md5('commit ' || n / 10),
    case when deleted then 'deleted' else 'active' end, 'mlflow-artifacts:/' || experiment_id || '/' || run_uuid,
    experiment_id, case when deleted then started + 86400000 end
from logged;

create temporary table metric_key (k int, key text);
insert into metric_key values
    (1, 'train/loss'), (2, 'val/loss'), (3, 'train/accuracy'), (4, 'val/accuracy'), (5, 'learning_rate'),
    (6, 'grad_norm'), (7, 'log_likelihood'), (8, 'system/cpu_utilization_percentage'),
    (9, 'system/gpu_0_memory_usage_megabytes'), (10, 'épôch time (s)');

-- Every key at every step. MLflow stores NaN as 0 with is_nan, and infinities as the largest finite doubles.
insert into metrics (key, value, "timestamp", run_uuid, step, is_nan)
select key,
    case
        when diverged and key in ('train/loss', 'val/loss') then 0
        when n % 33 = 0 and key = 'grad_norm' and step % 40 = 1 then 1.7976931348623157e308
        when n % 41 = 0 and key = 'log_likelihood' and step = 0 then -1.7976931348623157e308
        when key like '%loss' then exp(-step / 100.0) + random() / 10
        when key = 'learning_rate' then 0.001
        else random() * k
    end,
    started + step * 1000 + k, run_uuid, step,
    diverged and key in ('train/loss', 'val/loss')
from (
    select *, n % 25 = 0 and step > steps / 2 as diverged
    from logged cross join lateral generate_series(0, steps - 1) step cross join metric_key
) point;

-- Points logged twice: a client that tried again (a later timestamp), and two workers that raced (another value).
insert into metrics (key, value, "timestamp", run_uuid, step, is_nan)
select m.key, m.value + case when m.step % 2 = 0 then 1 else 0 end, m."timestamp" + m.step % 2, m.run_uuid, m.step, false
from metrics m join logged l using (run_uuid)
where l.n % 10 = 3 and m.key = 'val/accuracy' and m.step % 10 in (0, 1);

insert into latest_metrics (key, value, "timestamp", step, is_nan, run_uuid)
select distinct on (run_uuid, key) key, value, "timestamp", step, is_nan, run_uuid
from metrics order by run_uuid, key, step desc, "timestamp" desc, value desc;

insert into params
select p.key, p.value || n, run_uuid
from logged cross join (values
    ('batch_size', '3'), ('optimizer', 'adam'), ('seed', ''), ('layers', '1'), ('dropout', '0.'),
    ('dataset', 'warehouse/events/part='), ('prompt', repeat('You are a careful assistant. ', 20)), ('empty', '')
) p (key, value);

insert into tags
select t.key, t.value || n, run_uuid
from logged cross join (values
    ('mlflow.user', 'user'), ('mlflow.source.name', 'train.py#'), ('mlflow.source.type', 'LOCAL'),
    ('mlflow.runName', 'run-'), ('mlflow.source.git.commit', 'c0ffee'), ('mlflow.note.content', '')
) t (key, value);

-- A model that is in use, and an experiment that nobody may archive.
insert into model_versions (name, version, run_id, source, current_stage)
select 'churn', row_number() over (order by n), run_uuid, 'runs:/' || run_uuid || '/model', 'Production'
from logged where n % 500 = 11;
insert into experiment_tags (key, value, experiment_id) values ('pgupkeep.archive.after', 'never', 4);

-- Constraints and indexes --------------------------------------------------------------------------------------------

alter table metrics add constraint metric_pk primary key (key, "timestamp", step, run_uuid, value, is_nan);
alter table metrics add foreign key (run_uuid) references runs;
create index index_metrics_run_uuid on metrics (run_uuid);
create index index_metrics_run_uuid_key_step on metrics (run_uuid, key, step);
alter table latest_metrics add constraint latest_metric_pk primary key (key, run_uuid);
alter table latest_metrics add foreign key (run_uuid) references runs;
create index index_latest_metrics_run_uuid on latest_metrics (run_uuid);
alter table params add constraint param_pk primary key (key, run_uuid);
alter table params add foreign key (run_uuid) references runs;
create index index_params_run_uuid on params (run_uuid);
alter table tags add constraint tag_pk primary key (key, run_uuid);
alter table tags add foreign key (run_uuid) references runs;
create index index_tags_run_uuid on tags (run_uuid);
create index idx_experiments_workspace on experiments (workspace);
create index idx_experiments_workspace_creation_time on experiments (workspace, creation_time);

-- Churn --------------------------------------------------------------------------------------------------------------

-- Every logged point updates its key's latest value; notes are edited; statuses change.
update latest_metrics set step = step + 1, "timestamp" = "timestamp" + 1000;
update latest_metrics set step = step - 1, "timestamp" = "timestamp" - 1000;
update tags set value = 'looks good: ' || value where key = 'mlflow.note.content';
update runs set status = 'FINISHED' where status = 'KILLED';

-- `mlflow gc` removes the points of long deleted runs, but here not the runs themselves.
delete from metrics m using logged l where l.run_uuid = m.run_uuid and l.deleted and l.n % 40 = 7;
delete from latest_metrics m using logged l where l.run_uuid = m.run_uuid and l.deleted and l.n % 40 = 7;

-- The site's own clean-up: system metrics of the older runs are thinned out.
delete from metrics m using logged l
where l.run_uuid = m.run_uuid and l.n <= :runs * 2 / 5 and m.key like 'system/%';

drop table logged, metric_key;
