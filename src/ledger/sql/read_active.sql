-- read_active: what works or waits, and what it waits for; run $1 only, unless null.
select r.run_id, r.job, r.kind, r.target, r.trigger, r.entry, r.state, r.due_at, r.eligible_at, r.closes_at, r.started_at,
       r.attempts, r.reason, r.progress, r.cancel_requested_at is not null as cancel_requested,
       greatest(extract(epoch from r.eligible_at - clock_timestamp()), 0)::float8 as waits_seconds,
       b.run_id as blocked_by, b.job as blocked_by_job
  from pgupkeep.run r
  left join lateral (
       select a.run_id, a.job from pgupkeep.run a
        where r.state = 'queued' and a.state = 'running' and a.exclusive_keys && r.exclusive_keys
        order by a.started_at, a.run_id limit 1) b on true
 where r.state in ('running', 'queued') and ($1::uuid is null or r.run_id = $1)
 order by r.state desc, r.eligible_at, r.run_id
