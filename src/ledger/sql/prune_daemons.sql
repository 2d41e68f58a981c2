-- prune_daemons: forget daemons that stopped, or were last heard of, longer ago than $1.
delete from pgupkeep.daemon where greatest(heartbeat_at, stopped_at) < clock_timestamp() - $1::interval
