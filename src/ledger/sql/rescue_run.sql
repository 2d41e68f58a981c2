-- rescue_run: compare and set on the dead worker's token, and only while its lease is still over.
-- $1 run, $2 token, $3 delay in seconds or null to give up, $4 the evidence in words.
with rescued as (
    update pgupkeep.run
       set state = case when cancel_requested_at is null and $3::float8 is not null then 'queued' else 'finished' end,
           outcome = case when cancel_requested_at is not null then 'cancelled'
                          when $3::float8 is null then 'lost' end,
           finished_at = case when cancel_requested_at is not null or $3::float8 is null then clock_timestamp() end,
           reason = $4, losses = losses + 1,
           eligible_at = clock_timestamp() + make_interval(secs => coalesce($3, 0)),
           lease_token = null, lease_until = null, progress = null
     where run_id = $1 and lease_token = $2 and state = 'running' and lease_until < clock_timestamp()
    returning run_id, job, target, outcome, due_at
), attempt_ended as (
    update pgupkeep.attempt a set finished_at = clock_timestamp(), outcome = 'lost', error = $4
      from rescued s where a.run_id = s.run_id and a.lease_token = $2
), steps_ended as (
    update pgupkeep.step s set finished_at = clock_timestamp(), outcome = 'lost', error = $4
      from rescued r where s.run_id = r.run_id and s.finished_at is null
), told as (
    insert into pgupkeep.outbox (run_id, subject, body)
    select run_id, format('%s on %s lost: %s', job, target, $4),
           jsonb_build_object('run_id', run_id, 'job', job, 'target', target, 'outcome', outcome, 'due_at', due_at,
                              'error', $4)
      from rescued where outcome = 'lost'
), rung as (
    select pg_notify('pgupkeep', '') from rescued
)
select outcome from rescued left join rung on true
