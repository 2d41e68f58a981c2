-- read_backup_age: how many backups a target ($1) has had begun, by runs of their own or in a sequence, and how many seconds
-- ago the last good one ended.
with own as (
    select r.finished_at, r.outcome = 'succeeded' as good
      from pgupkeep.run r
     where r.kind = 'backup' and r.target = $1
), inner_jobs as (
    select r.run_id, i ->> 'name' as job
      from pgupkeep.run r cross join lateral jsonb_array_elements(r.spec -> 'inner') i
     where r.kind = 'sequence' and r.target = $1 and i ->> 'kind' = 'backup'
), in_sequences as (
    select s.finished_at, s.outcome = 'done' as good
      from inner_jobs j join pgupkeep.step s on s.run_id = j.run_id
     where s.statement is null and starts_with(s.step, j.job || ' (')
)
select count(*) as runs,
       extract(epoch from clock_timestamp() - max(finished_at) filter (where good))::float8 as age
  from (select * from own union all select * from in_sequences) b
