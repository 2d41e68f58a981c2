-- read_tool_sessions: sessions of our tools, by the name that this run has given them. $1 name, $2 our working session.
select a.pid from pg_stat_activity a
 where a.application_name = $1 and a.usename = current_user and a.pid <> $2 and a.pid <> pg_backend_pid()
