-- steps_done: what earlier attempts at this run have done already.
select distinct step from pgupkeep.step where run_id = $1 and job = $2 and outcome = 'done' and statement is null
