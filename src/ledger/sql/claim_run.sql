-- claim_run: take the run that has waited longest among those that may run now, and begin an attempt.
-- $1 targets, $2 their limits, $3 kinds we know, $4 only this run, $5 lease token, $6 lease in seconds, $7 daemon.
-- A run that waits for a key keeps it from those that came after it, so that a long sequence does not starve. One that is
-- asked for by its id ($4, run --local) does not stand in that queue, which without a daemon nobody would ever shorten,
-- and it may begin before its head start over the daemons is up.
-- The targets with room are found first: most rows of a long queue wait for theirs, and must not be looked at one by one.
with free as materialized (
    select t.target
      from unnest($1::text[], $2::int[]) as t (target, max_runs)
     where (select count(*) from pgupkeep.run a where a.state = 'running' and a.target = t.target) < t.max_runs
), candidate as (
    select r.run_id
      from pgupkeep.run r
     where r.state = 'queued'
       and r.target = any (array(select target from free))
       and (r.eligible_at <= clock_timestamp() or (r.run_id = $4 and r.attempts = 0))
       and (r.closes_at is null or r.closes_at > clock_timestamp())
       and r.kind = any ($3)
       and ($4::uuid is null or r.run_id = $4)
       and not exists (select from pgupkeep.run a
                        where a.state = 'running' and a.exclusive_keys && r.exclusive_keys)
       and ($4::uuid is not null
            or not exists (select from pgupkeep.run q
                            where q.state = 'queued' and q.eligible_at <= clock_timestamp()
                              and (q.closes_at is null or q.closes_at > clock_timestamp())
                              and q.target = r.target and q.kind = any ($3)
                              and q.exclusive_keys && r.exclusive_keys
                              and (q.eligible_at, q.run_id) < (r.eligible_at, r.run_id)))
     order by r.eligible_at, r.run_id
     limit 1
       for update of r skip locked
), claimed as (
    update pgupkeep.run r
       set state = 'running', attempts = r.attempts + 1, lease_token = $5, reason = null, progress = null,
           lease_until = clock_timestamp() + make_interval(secs => $6),
           started_at = coalesce(r.started_at, clock_timestamp())
      from candidate c
     where r.run_id = c.run_id
    returning r.*
), begun as (
    insert into pgupkeep.attempt (run_id, attempt, daemon_id, lease_token)
    select run_id, attempts, $7, $5 from claimed
)
select run_id, target, spec, exclusive_keys, trigger, due_at, closes_at,
       clock_timestamp() as claimed_at, failures, attempts
  from claimed
