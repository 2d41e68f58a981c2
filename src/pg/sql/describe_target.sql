-- describe_target: what a person wants to know of a target at a glance.
select pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) as server_version,
       pg_catalog.pg_is_in_recovery() as in_recovery,
       pg_catalog.current_database()::text as database,
       pg_catalog.pg_database_size(pg_catalog.current_database()) as size_bytes
