-- inspect_server: what the server is, who we are on it, and the settings that maintenance depends on.
-- One text for 14 to 18: what an older server lacks reads as null.
select current_setting('server_version_num')::int as version,
       split_part(current_setting('server_version'), ' ', 1) as version_text,
       pg_is_in_recovery() as in_recovery,
       current_database()::text as database,
       current_user::text as role,
       (select rolsuper from pg_roles where rolname = current_user) as is_superuser,
       pg_has_role('pg_monitor', 'USAGE') as sees_all,
       pg_has_role('pg_read_all_data', 'USAGE') as reads_all,
       has_table_privilege('pg_catalog.pg_authid', 'SELECT') as reads_hashes,
       has_database_privilege(current_database(), 'CREATE') as may_create,
       has_database_privilege(current_database(), 'TEMPORARY') as may_use_temporary,
       current_setting('autovacuum')::bool as autovacuum,
       current_setting('track_counts')::bool as track_counts,
       current_setting('fsync')::bool as fsync,
       current_setting('full_page_writes')::bool as full_page_writes,
       current_setting('default_transaction_read_only')::bool as read_only,
       pg_size_bytes(current_setting('maintenance_work_mem')) as maintenance_work_mem,
       current_setting('max_slot_wal_keep_size') = '-1' as slots_unlimited,
       (select count(*) from pg_replication_slots) as slots,
       age(d.datfrozenxid)::float8 as xid_age,
       current_setting('autovacuum_freeze_max_age')::float8 as xid_max,
       mxid_age(d.datminmxid)::float8 as multixact_age,
       current_setting('autovacuum_multixact_freeze_max_age')::float8 as multixact_max
  from pg_database d
 where d.datname = current_database()
