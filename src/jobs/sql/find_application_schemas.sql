-- find_application_schemas: the schemas in which all of these tables stand together. $1 are their names.
-- What we may not look into is left out, and so is our own archive, whose tables have the same names.
select n.nspname::text as schema
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relname = any ($1::text[]) and c.relkind in ('r', 'p') and n.nspname <> $2
   and n.nspname not like 'pg\_temp\_%'
 group by n.nspname
having count(*) = cardinality($1::text[])
 order by n.nspname
