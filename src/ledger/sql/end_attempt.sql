-- end_attempt: only the lease's holder; the attempt, the run and what people must be told end together.
-- $1 run, $2 token, $3 outcome or null for the queue, $4 delay in seconds, $5 reason, $6 error, $7 fault,
-- $8 failures, $9 the attempt's outcome, $10 steps done, $11 steps planned.
-- A run that somebody cancelled does not go back to the queue. One that is merely handed back keeps its last failure.
with asked as (
    select run_id, cancel_requested_by, $3::text is null and cancel_requested_at is not null as cancelled
      from pgupkeep.run
     where run_id = $1 and lease_token = $2 and state = 'running'
       for update
), ended as (
    update pgupkeep.run r
       set state = case when $3::text is null and not a.cancelled then 'queued' else 'finished' end,
           outcome = case when a.cancelled then 'cancelled' else $3 end,
           reason = case when a.cancelled then 'cancelled by ' || a.cancel_requested_by else $5 end,
           error = case when $3::text is null and $8 = 0 then r.error else $6 end,
           fault = case when $3::text is null and $8 = 0 then r.fault else $7 end,
           failures = failures + $8,
           eligible_at = case when $3::text is null then clock_timestamp() + make_interval(secs => $4) else eligible_at end,
           finished_at = case when $3::text is not null or a.cancelled then clock_timestamp() end,
           lease_token = null, lease_until = null, progress = null
      from asked a
     where r.run_id = a.run_id
    returning r.run_id, job, target, outcome, reason, error, due_at, attempts, finished_at - started_at as took
), attempt_ended as (
    update pgupkeep.attempt a
       set finished_at = clock_timestamp(), outcome = $9, fault = $7, steps_done = $10, steps_planned = $11,
           error = coalesce($6, case when $3::text is null then $5 end)
      from ended e where a.run_id = e.run_id and a.lease_token = $2
), steps_ended as (
    update pgupkeep.step s
       set finished_at = clock_timestamp(), outcome = 'lost',
           error = 'the worker could not learn how it ended'
      from ended e where s.run_id = e.run_id and s.finished_at is null
), told as (
    insert into pgupkeep.outbox (run_id, subject, body)
    select run_id, format('%s on %s %s: %s', job, target, outcome, coalesce(error, reason, 'no reason recorded')),
           jsonb_build_object('run_id', run_id, 'job', job, 'target', target, 'outcome', outcome, 'due_at', due_at,
                              'error', coalesce(error, reason))
      from ended where outcome in ('partial', 'failed', 'timed_out', 'lost', 'missed')
), rung as (
    select pg_notify('pgupkeep', '') from ended
)
select job, target, outcome, extract(epoch from took)::float8 as took from ended left join rung on true
