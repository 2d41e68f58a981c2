-- read_sizes: the bytes of tables ($1: their quoted names) and of their indexes, and those of a schema ($2), all of it.
select coalesce((select sum(pg_catalog.pg_table_size(pg_catalog.to_regclass(name))) from unnest($1::text[]) name), 0)::bigint as heap,
       coalesce((select sum(pg_catalog.pg_indexes_size(pg_catalog.to_regclass(name))) from unnest($1::text[]) name), 0)::bigint as indexes,
       coalesce((select sum(pg_catalog.pg_total_relation_size(c.oid))
                   from pg_catalog.pg_class c
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = $2 and c.relkind = 'r'), 0)::bigint as archive
