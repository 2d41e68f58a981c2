-- read_foreign_keys: every foreign key of the database, once; those that partitions inherit are left out.
select k.oid, k.conname::text as name,
       k.conrelid as child, cn.nspname::text as child_schema, cc.relname::text as child_name,
       array(select a.attname::text from unnest(k.conkey) with ordinality as x (attnum, place)
               join pg_attribute a on a.attrelid = k.conrelid and a.attnum = x.attnum order by x.place) as child_columns,
       k.confrelid as parent, pn.nspname::text as parent_schema, pc.relname::text as parent_name,
       array(select a.attname::text from unnest(k.confkey) with ordinality as x (attnum, place)
               join pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.attnum order by x.place) as parent_columns,
       array(select format_type(a.atttypid, a.atttypmod) from unnest(k.confkey) with ordinality as x (attnum, place)
               join pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.attnum order by x.place) as parent_types,
       k.confdeltype::text as on_delete
  from pg_constraint k
  join pg_class cc on cc.oid = k.conrelid
  join pg_namespace cn on cn.oid = cc.relnamespace
  join pg_class pc on pc.oid = k.confrelid
  join pg_namespace pn on pn.oid = pc.relnamespace
 where k.contype = 'f' and k.conparentid = 0
 order by cn.nspname, cc.relname, k.conname
