-- end_tool_sessions: ends what our tools have left behind, and nobody else's: the name holds this run's own number.
-- $1 name, $2 our working session.
select pg_terminate_backend(a.pid) from pg_stat_activity a
 where a.application_name = $1 and a.usename = current_user and a.pid <> $2 and a.pid <> pg_backend_pid()
