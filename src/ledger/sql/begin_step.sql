-- begin_step: a statement is about to be sent; refused when the attempt is no longer the run's.
insert into pgupkeep.step (run_id, attempt, job, step, statement)
select r.run_id, $2, $3, $4, $5 from pgupkeep.run r
 where r.run_id = $1 and r.state = 'running' and r.attempts = $2
returning step_id, (select r.target from pgupkeep.run r where r.run_id = $1)
