-- find_exclusion_constraints: the indexes of exclusion constraints that these tables ($1) have.
select n.nspname::text as schema, c.relname::text as name
  from pg_catalog.pg_index i
  join pg_catalog.pg_class c on c.oid = i.indexrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where i.indisexclusion and i.indrelid = any (array(select pg_catalog.to_regclass(t) from unnest($1::text[]) t))
 order by 1, 2
