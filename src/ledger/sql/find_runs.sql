-- find_runs: whose ids lie from $1 to $2; those that are not finished first. Reads the view that readers are granted.
select run_id, job, target, state, outcome
  from pgupkeep.history
 where run_id between $1 and $2
 order by state = 'finished', run_id
 limit 20
