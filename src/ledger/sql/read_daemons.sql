-- read_daemons: those that have said so within $1 seconds.
select daemon_id, version, pid, started_at, heartbeat_at
  from pgupkeep.daemon
 where stopped_at is null and heartbeat_at > clock_timestamp() - make_interval(secs => $1)
 order by started_at, daemon_id
