-- find_lock_holder: whom would VACUUM or ANALYZE of a table have to wait for? $1 the table, $2 our working session.
-- Those two take ShareUpdateExclusiveLock, which also conflicts with requests that still wait; on partitions and
-- children ANALYZE takes AccessShareLock. Source: PostgreSQL documentation, "Table-Level Locks".
with recursive family (oid, modes) as (
    select relation, array['ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                           'AccessExclusiveLock']
      from (select $1::oid as relation
            union all
            select reltoastrelid from pg_class where oid = $1 and reltoastrelid <> 0) own
    union
    select i.inhrelid, array['AccessExclusiveLock']
      from family f join pg_inherits i on i.inhparent = f.oid
)
select coalesce(case when a.backend_type <> 'client backend' then a.backend_type else 'session' end || ' ' || l.pid,
                'session ' || l.pid, 'a prepared transaction') as who,
       a.application_name as application, a.usename::text as role,
       case when l.granted then 'holds ' else 'waits for ' end || l.mode as does
  from pg_locks l
  join family f on f.oid = l.relation and l.mode = any (f.modes)
  left join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'relation'
   and l.database in (0, (select oid from pg_database where datname = current_database()))
   and l.pid is distinct from $2 and l.pid is distinct from pg_backend_pid()
 order by l.granted desc, l.pid
 limit 1
