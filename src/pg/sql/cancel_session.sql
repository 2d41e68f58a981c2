-- cancel_session: cancel the statement of a session of ours, and of no other that got its pid since.
select pg_catalog.pg_cancel_backend(pid)
  from pg_catalog.pg_stat_activity
 where pid = $1 and backend_start = $2 and application_name like 'pgupkeep/%'
