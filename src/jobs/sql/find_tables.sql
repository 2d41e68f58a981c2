-- find_tables: the numbers of the relations of these names in a schema, tables or not. $1 is the schema, $2 the names.
select c.oid, c.relname::text as name
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = $1 and c.relname = any ($2::text[]) and c.relkind in ('r', 'p', 'v', 'm', 'f')
