-- expire_runs: a run that was not started when its window closed is missed; one that was tried keeps its failure.
with expired as (
    update pgupkeep.run
       set state = 'finished', finished_at = clock_timestamp(),
           outcome = case when failures > 0 then 'failed' else 'missed' end,
           reason = case when failures > 0 then 'its window closed before it could be tried again'
                         when attempts > 0
                         then 'its window closed before it could be started again' || coalesce('; ' || reason, '')
                         else 'its window closed before it could be started' || coalesce('; ' || reason, '') end
     where state = 'queued' and closes_at <= clock_timestamp()
    returning run_id, job, target, outcome, reason, error, due_at
), told as (
    insert into pgupkeep.outbox (run_id, subject, body)
    select run_id, format('%s on %s %s: %s', job, target,
                          case outcome when 'missed' then 'was missed' else outcome end, coalesce(error, reason)),
           jsonb_build_object('run_id', run_id, 'job', job, 'target', target, 'outcome', outcome, 'due_at', due_at,
                              'error', coalesce(error, reason))
      from expired
)
select job, target, outcome from expired
