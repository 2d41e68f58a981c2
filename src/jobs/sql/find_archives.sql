-- find_archives: the schemas of all archives in this database that the role may read, by the catalogue that stands beside each.
select left(n.nspname, -6)::text as schema
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relname in ('rule', 'group_state', 'batch_source') and c.relkind = 'r' and n.nspname like '%\_store'
   and has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')
 group by n.nspname
having count(*) = 3
 order by n.nspname
