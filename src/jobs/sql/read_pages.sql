-- read_pages: about how many rows a page of a table ($1: its oid) has, and how many rows of others ($2: their oids) there
-- are for each of its own.
select r.tuples / greatest(r.pages, 1) as per_page,
       coalesce((select sum(greatest(c.reltuples, 0)) from pg_catalog.pg_class c where c.oid = any ($2)), 0)::float8
           / greatest(r.tuples, 1) as per_root
  from (select greatest(c.reltuples, 0)::float8 as tuples,
               (pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint)::float8 as pages
          from pg_catalog.pg_class c where c.oid = $1) r
