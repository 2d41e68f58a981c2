-- read_widths: the average width of the columns of a table ($1: its oid), by its statistics.
select a.attname::text as name, s.stawidth as width
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  cross join lateral (
       select v.avg_width as stawidth from pg_catalog.pg_stats v
        where v.schemaname = n.nspname and v.tablename = c.relname and v.attname = a.attname
        limit 1) s
 where a.attrelid = $1
