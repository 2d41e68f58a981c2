-- find_row_locker: who may have locked rows of a table ($1), longest first; $2 our working session.
-- Locked rows are not listed by the server unless somebody waits for them, but whoever has locked or changed any holds one of
-- these locks on their table. Source: PostgreSQL documentation, "Row-Level Locks".
select coalesce('session ' || l.pid, 'a prepared transaction') as who, a.application_name as application,
       a.usename::text as role, 'holds ' || l.mode as does
  from pg_locks l
  left join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'relation' and l.granted and l.relation = $1 and l.mode in ('RowShareLock', 'RowExclusiveLock')
   and l.database = (select oid from pg_database where datname = current_database())
   and l.pid is distinct from $2 and l.pid is distinct from pg_backend_pid()
 order by a.xact_start nulls first, l.pid
 limit 1
