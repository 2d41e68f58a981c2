-- daemons_up: how many daemons have said so within $1 seconds.
select count(*) from pgupkeep.daemon
 where stopped_at is null and heartbeat_at > clock_timestamp() - make_interval(secs => $1)
