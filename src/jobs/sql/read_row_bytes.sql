-- read_row_bytes: about how many rows a table ($1: its oid) has, its bytes with indexes and TOAST table, and whether nobody
-- has ever counted its rows.
select greatest(c.reltuples, coalesce(s.n_live_tup, 0), 0)::float8 as tuples,
       pg_catalog.pg_total_relation_size(c.oid) as bytes,
       c.reltuples < 0 and coalesce(s.n_live_tup, 0) = 0 and pg_catalog.pg_relation_size(c.oid) > 0 as uncounted
  from pg_catalog.pg_class c
  left join pg_catalog.pg_stat_all_tables s on s.relid = c.oid
 where c.oid = $1
