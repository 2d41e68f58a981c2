-- read_attempts: each time that a worker took the run.
select attempt, started_at, finished_at, outcome, steps_done, steps_planned, error
  from pgupkeep.attempt
 where run_id = $1
 order by attempt
