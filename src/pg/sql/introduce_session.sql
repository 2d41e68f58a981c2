-- introduce_session: who are we to the server, and what is it?
select pg_catalog.pg_backend_pid() as pid,
       (select backend_start from pg_catalog.pg_stat_activity where pid = pg_catalog.pg_backend_pid()) as backend_start,
       pg_catalog.current_setting('server_version_num')::int as version,
       pg_catalog.pg_is_in_recovery() as in_recovery
