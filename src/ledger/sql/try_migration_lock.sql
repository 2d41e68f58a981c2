-- try_migration_lock: one session at a time changes the ledger's schema.
select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('pgupkeep migration', 0))
