-- read_wal_position: how many bytes of WAL the server has ever written.
select pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint
