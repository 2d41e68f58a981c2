-- Runs of 10 keys and 100 steps over 360 days, the oldest first, as MLflow would have logged them; one of the old ones
-- has 10,000 points in a single series. Needs MLflow's own tables and the variable `runs`.

set client_min_messages = warning;
set synchronous_commit = off;
select setseed(0.4217) \g /dev/null

insert into experiments (experiment_id, name, lifecycle_stage, workspace) values (1, 'bench', 'active', 'default')
on conflict do nothing;

create temporary table logged as
select md5(r::text) as run_uuid, r,
       (extract(epoch from now() - interval '360 days' * (1 - (r - 1) / :runs::float8)) * 1000)::bigint as started
  from generate_series(1, :runs) r;
insert into logged
select md5('long'), 0, (extract(epoch from now() - interval '359 days') * 1000)::bigint;

insert into runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, experiment_id)
select run_uuid, 'run ' || r, 'LOCAL', 'bench', 'FINISHED', started, started + 100000, 'active', 1 from logged;

-- Half the series are float32 values, as frameworks log them; the others random doubles, which nothing compresses.
insert into metrics (key, value, timestamp, run_uuid, step, is_nan)
select 'metric_' || k, case when k % 2 = 0 then (random() * 10)::real::float8 else random() * 10 end,
       started + s * 1000 + (random() * 100)::int, run_uuid, s, false
  from (select * from logged where r > 0 order by r) l, generate_series(0, 99) s, generate_series(0, 9) k;
insert into metrics (key, value, timestamp, run_uuid, step, is_nan)
select 'metric_0', random() * 10, started + s * 1000 + (random() * 100)::int, run_uuid, s, false
  from logged, generate_series(0, 9999) s where r = 0;

insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
select distinct on (run_uuid, key) key, value, timestamp, step, is_nan, run_uuid
  from metrics order by run_uuid, key, step desc;
insert into params (key, value, run_uuid) select 'lr', '0.1', run_uuid from logged;
insert into tags (key, value, run_uuid) select 'mlflow.user', 'bench', run_uuid from logged;

vacuum analyze;
