-- job_age: how many seconds ago did a job's work begin? $1 the run, $2 the sequence that it is inside, or null.
select extract(epoch from clock_timestamp() - greatest(
           r.started_at,
           (select max(s.finished_at) from pgupkeep.step s
             where s.run_id = r.run_id and s.job = $2 and s.outcome = 'done' and s.statement is null)))::float8
  from pgupkeep.run r
 where r.run_id = $1
