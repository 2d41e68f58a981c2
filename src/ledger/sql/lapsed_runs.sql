-- lapsed_runs: running by the book, but nobody has said so for longer than the lease.
select r.run_id, r.lease_token, r.job, r.target, r.exclusive_keys, a.backend_pid, a.backend_start, r.losses
  from pgupkeep.run r
  left join pgupkeep.attempt a on a.run_id = r.run_id and a.lease_token = r.lease_token
 where r.state = 'running' and r.lease_until < clock_timestamp()
 order by r.lease_until
