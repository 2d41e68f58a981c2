-- beat_daemon: this daemon is up.
insert into pgupkeep.daemon (daemon_id, version, pid) values ($1, $2, $3)
on conflict (daemon_id) do update set heartbeat_at = clock_timestamp()
