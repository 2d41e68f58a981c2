-- read_history: runs, newest first; each filter is off when null.
select run_id, job, kind, target, trigger, entry, state, outcome, due_at, started_at, finished_at,
       (extract(epoch from duration) * 1000)::bigint as duration_ms,
       attempts, statements, bytes_before::bigint as bytes_before, bytes_after::bigint as bytes_after, reason, error
  from pgupkeep.history
 where ($1::text is null or job = $1)
   and ($2::text is null or target = $2)
   and ($3::text is null or outcome = $3)
   and ($4::uuid is null or run_id = $4)
 order by due_at desc, run_id desc
 limit $5
