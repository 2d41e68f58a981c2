-- read_job_gauges: where each of the given jobs stands on its target, over all daemons; $1 jobs, $2 targets, in pairs.
-- A few look-ups by index for each pair, so that it stays cheap however long the history is.
select w.job, w.target, extract(epoch from due.due_at)::float8 as last_due, last.outcome as last_outcome,
       extract(epoch from last.finished_at)::float8 as last_finished,
       extract(epoch from last.finished_at - last.started_at)::float8 as last_seconds,
       size.before as bytes_before, size.after as bytes_after,
       extract(epoch from good.finished_at)::float8 as last_success,
       coalesce(active.queued, 0) as queued, coalesce(active.running, 0) as running
  from unnest($1::text[], $2::text[]) as w (job, target)
  left join lateral (
       select r.due_at from pgupkeep.run r
        where r.job = w.job and r.target = w.target and r.trigger in ('schedule', 'catch_up')
          and r.outcome is distinct from 'skipped'
        order by r.due_at desc limit 1) due on true
  left join lateral (
       select r.run_id, r.outcome, r.started_at, r.finished_at from pgupkeep.run r
        where r.job = w.job and r.target = w.target and r.state = 'finished'
        order by r.due_at desc, r.run_id desc limit 1) last on true
  left join lateral (
       select sum(s.bytes_before)::float8 as before, sum(s.bytes_after)::float8 as after from pgupkeep.step s
        where s.run_id = last.run_id) size on true
  left join lateral (
       select r.finished_at from pgupkeep.run r
        where r.job = w.job and r.target = w.target and r.outcome = 'succeeded'
        order by r.due_at desc limit 1) good on true
  left join (
       select r.job, r.target, count(*) filter (where r.state = 'queued') as queued,
              count(*) filter (where r.state = 'running') as running
         from pgupkeep.run r where r.state in ('queued', 'running') group by r.job, r.target) active
       on active.job = w.job and active.target = w.target
