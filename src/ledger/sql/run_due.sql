-- run_due: when did a run fall due? $1 the run.
select r.due_at from pgupkeep.run r where r.run_id = $1
