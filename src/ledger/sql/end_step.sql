-- end_step: how a statement ended, and what was measured around it.
update pgupkeep.step
   set finished_at = clock_timestamp(), outcome = $2, rows_affected = $3, bytes_before = $4, bytes_after = $5,
       error = $6, detail = $7
 where step_id = $1 and finished_at is null
