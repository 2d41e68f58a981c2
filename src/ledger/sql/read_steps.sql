-- read_steps: what was sent, after step $2.
select step_id, attempt, job, step, statement, sent_at, finished_at, outcome, rows_affected, bytes_before, bytes_after,
       error, detail
  from pgupkeep.step
 where run_id = $1 and step_id > $2
 order by step_id
