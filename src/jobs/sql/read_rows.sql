-- read_rows: of each of some tables ($1: their oids) about how many rows it has, its pages, its bytes with and without indexes, those of
-- its TOAST table, and whether nobody has ever counted its rows, which are then guessed from its size as the planner would.
-- Source: PostgreSQL, src/backend/optimizer/util/plancat.c, estimate_rel_size().
select c.oid, case when s.uncounted then s.guessed else s.counted end as tuples, s.pages,
       pg_catalog.pg_total_relation_size(c.oid) as bytes, pg_catalog.pg_table_size(c.oid) as own_bytes,
       coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0) as toast_bytes, s.uncounted
  from pg_catalog.pg_class c
  left join pg_catalog.pg_stat_all_tables t on t.relid = c.oid
  cross join lateral (
       select pg_catalog.pg_relation_size(c.oid)::float8 / current_setting('block_size')::int as pages,
              greatest(c.reltuples, coalesce(t.n_live_tup, 0), 0)::float8 as counted) n
  cross join lateral (
       select n.pages, n.counted, c.reltuples < 0 and n.counted = 0 and n.pages > 0 as uncounted,
              (select n.pages * (current_setting('block_size')::int - 24)
                      / (28 + coalesce(sum(case when a.attlen > 0 then a.attlen else 32 end), 0))
                 from pg_catalog.pg_attribute a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)::float8 as guessed) s
 where c.oid = any ($1)
