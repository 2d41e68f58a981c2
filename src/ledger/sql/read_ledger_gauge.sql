-- read_ledger_gauge: what is true of the ledger as a whole; a daemon is up when it has said so within $1 seconds.
select (select count(*) from pgupkeep.daemon
         where stopped_at is null and heartbeat_at > clock_timestamp() - make_interval(secs => $1)) as daemons,
       (select coalesce(extract(epoch from max(clock_timestamp() - eligible_at)), 0)::float8 from pgupkeep.run
         where state = 'queued' and eligible_at <= clock_timestamp()) as longest_wait,
       (select count(*) from pgupkeep.run where state = 'running' and lease_until < clock_timestamp()) as lapsed,
       (select coalesce(extract(epoch from max(clock_timestamp() - a.heartbeat_at)), 0)::float8
          from pgupkeep.run r join pgupkeep.attempt a on a.run_id = r.run_id and a.lease_token = r.lease_token
         where r.state = 'running') as longest_silence,
       (select count(*) from pgupkeep.outbox where delivered_at is null) as notices
