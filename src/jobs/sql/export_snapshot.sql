-- export_snapshot: lets other sessions see what this transaction sees, for as long as it is open.
select pg_export_snapshot()::text, pg_current_wal_lsn()::text
