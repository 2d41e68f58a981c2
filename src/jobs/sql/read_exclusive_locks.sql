-- read_exclusive_locks: the tables that this transaction has locked against everybody, as TRUNCATE, ALTER and DROP do;
-- temporary ones left out. A TRUNCATE leaves no trace in the counters, and its lock lasts as long as the transaction.
select l.relation as oid, case when c.oid is null then 'a relation that is gone' else format('%I.%I', n.nspname, c.relname) end as name
  from pg_catalog.pg_locks l
  left join pg_catalog.pg_class c on c.oid = l.relation
  left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
   and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
   and coalesce(c.relpersistence, 'p') <> 't'
