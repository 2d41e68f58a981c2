-- read_dumped_tables: the tables of a database whose rows are in its dump, with the planner's idea of their rows.
-- A partitioned table has no rows of its own; what belongs to an extension is made again by it.
select n.nspname::text as schema, c.relname::text as name, greatest(c.reltuples, 0)::int8 as estimate
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where (c.relkind = 'r' or (c.relkind = 'm' and c.relispopulated))
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
   and not exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by c.relpages, n.nspname, c.relname
