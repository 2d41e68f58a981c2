-- find_archives: the schemas of all archives in this database, by the catalogue that stands beside each, and whether the role may
-- read that.
select left(n.nspname, -6)::text as schema,
       has_schema_privilege(n.oid, 'USAGE') and bool_and(has_table_privilege(c.oid, 'SELECT')) as readable
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and n.nspname like '%\_store'
   and (c.relname = 'rule' and (select count(*) from pg_attribute a where a.attrelid = c.oid
                                 and (a.attname, a.atttypid::regtype::text) in (('rule_id', 'bigint'), ('name', 'text'), ('definition', 'jsonb'))) = 3
     or c.relname = 'group_state' and (select count(*) from pg_attribute a where a.attrelid = c.oid
                                 and (a.attname, a.atttypid::regtype::text) in (('rule_id', 'bigint'), ('row_count', 'bigint'),
                                     ('hold_until', 'timestamp with time zone'))) = 3)
 group by n.oid, n.nspname
having count(*) = 2
 order by n.nspname
