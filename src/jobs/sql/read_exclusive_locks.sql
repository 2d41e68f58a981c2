-- read_exclusive_locks: the tables that this transaction has locked against everybody, as TRUNCATE, ALTER and DROP do;
-- temporary ones left out. A TRUNCATE leaves no trace in the counters, and its lock lasts as long as the transaction. Of a TOAST
-- table and its index the name is that of the table whose values it holds.
select l.relation as oid,
       case when c.oid is null then 'a relation that is gone' else format('%I.%I', n.nspname, coalesce(o.relname, c.relname)) end as name
  from pg_catalog.pg_locks l
  left join pg_catalog.pg_class c on c.oid = l.relation
  left join pg_catalog.pg_index i on i.indexrelid = c.oid
  left join pg_catalog.pg_class o on o.reltoastrelid = coalesce(i.indrelid, c.oid)
  left join pg_catalog.pg_namespace n on n.oid = coalesce(o.relnamespace, c.relnamespace)
 where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
   and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
   and coalesce(c.relpersistence, 'p') <> 't'
