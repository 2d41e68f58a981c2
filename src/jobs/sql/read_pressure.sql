-- read_pressure: by how many seconds the slowest standby is behind, and how many bytes of WAL the slots hold back.
select (select max(extract(epoch from r.replay_lag))::float8 from pg_catalog.pg_stat_replication r) as lag_seconds,
       (select max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn))::bigint
          from pg_catalog.pg_replication_slots s) as held_bytes
