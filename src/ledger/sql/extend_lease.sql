-- extend_lease: the worker is alive; has anybody asked for the run to stop?
with extended as (
    update pgupkeep.run
       set lease_until = clock_timestamp() + make_interval(secs => $3), progress = $4
     where run_id = $1 and lease_token = $2 and state = 'running'
    returning run_id, lease_token, cancel_requested_by
), beaten as (
    update pgupkeep.attempt a set heartbeat_at = clock_timestamp()
      from extended e where a.run_id = e.run_id and a.lease_token = e.lease_token
)
select cancel_requested_by from extended
