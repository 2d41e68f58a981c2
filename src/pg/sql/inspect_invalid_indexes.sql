-- inspect_invalid_indexes: which indexes of this database are invalid, and not being built just now? At most a hundred.
select format('%I.%I', n.nspname, c.relname) as name
  from pg_index i
  join pg_class c on c.oid = i.indexrelid and c.relkind = 'i'
  join pg_namespace n on n.oid = c.relnamespace
 where not i.indisvalid and c.relpersistence <> 't'
   and not exists (select from pg_stat_progress_create_index p
                    where p.datid = (select oid from pg_database where datname = current_database())
                      and p.relid = i.indrelid)
 order by 1 limit 100
