-- is_newest: is daemon $1 the last to have taken up its configuration, of those that have said within $2 seconds that they
-- are up?
select not exists (
    select from pgupkeep.daemon other, pgupkeep.daemon own
     where own.daemon_id = $1 and other.daemon_id <> $1
       and other.stopped_at is null and other.heartbeat_at > clock_timestamp() - make_interval(secs => $2)
       and coalesce(other.loaded_at, other.started_at) > coalesce(own.loaded_at, own.started_at))
