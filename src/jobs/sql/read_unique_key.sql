-- read_unique_key: the columns of a table's ($1: its quoted name) primary key, or of another unique key without nulls;
-- not those that it only includes.
with best as (
    select i.indrelid, (i.indkey::int2[])[0 : i.indnkeyatts - 1] as columns
      from pg_catalog.pg_index i
     where i.indrelid = pg_catalog.to_regclass($1) and i.indisunique and i.indisvalid
       and i.indpred is null and i.indexprs is null
     order by i.indisprimary desc, i.indexrelid
     limit 1
)
select a.attname::text as name
  from best b
  join pg_catalog.pg_attribute a on a.attrelid = b.indrelid and a.attnum = any (b.columns)
