-- record_session: which server process works for this attempt.
update pgupkeep.attempt a
   set backend_pid = $3, backend_start = $4
  from pgupkeep.run r
 where r.run_id = $1 and r.lease_token = $2 and r.state = 'running'
   and a.run_id = r.run_id and a.lease_token = r.lease_token
