-- read_indexes: what a rebuild has to know of each index. $1 is one index, or null for all of them.
-- known_* are the names that a pattern may mean it by: its own, its table's, and those of the partitioned tables and
-- indexes above it; a TOAST table's index goes by its table too. The columns from `stale` on decide whether a size can
-- be judged by statistics. No relation is locked, so there are no size functions and no pg_get_expr here.
-- permitted: MAINTAIN (17) would do for the rebuild, but not for dropping what is left when it is interrupted.
-- Sources: PostgreSQL documentation, "pg_index", "pg_stats", "DROP INDEX".
select i.indexrelid as oid, n.nspname::text as schema, c.relname::text as name, i.indrelid as table_oid,
       coalesce(un.nspname, tn.nspname)::text as table_schema, coalesce(u.relname, t.relname)::text as table_name,
       am.amname::text as method,
       case when n.nspname in ('pg_catalog', 'information_schema') or un.nspname in ('pg_catalog', 'information_schema')
                 or t.relisshared
                then 'catalogue'
            when t.relpersistence = 't' then 'temporary'
            when i.indisexclusion then 'exclusion'
            when not (i.indisvalid and i.indisready and i.indislive) then 'invalid'
            else 'plain' end as sort,
       pg_get_userbyid(c.relowner)::text as owner,
       coalesce((select rolsuper from pg_roles where oid = c.relowner), false) as owner_is_superuser, current_user::text as role,
       pg_has_role(c.relowner, 'USAGE') as permitted,
       has_schema_privilege(n.oid, 'USAGE') as schema_open,
       greatest(c.reltuples, 0)::float8 as tuples,
       current_setting('block_size')::int as block_size,
       coalesce((select o.option_value::int from pg_options_to_table(c.reloptions) o
                  where o.option_name = 'fillfactor'),
                case am.amname when 'btree' then 90 when 'hash' then 75 when 'spgist' then 80 else 90 end) as fill_factor,
       array[n.nspname, tn.nspname, un.nspname]::text[]
       || array(select an.nspname::text from unnest(up.relids) as a (relid) join pg_class ac on ac.oid = a.relid
                  join pg_namespace an on an.oid = ac.relnamespace order by a.relid) as known_schemas,
       array[c.relname, t.relname, u.relname]::text[]
       || array(select ac.relname::text from unnest(up.relids) as a (relid) join pg_class ac on ac.oid = a.relid order by a.relid) as known_names,
       coalesce(pg_stat_get_mod_since_analyze(t.oid)
                >= greatest(0.1 * pg_stat_get_live_tuples(t.oid), 1), true) as stale,
       i.indpred is null and i.indexprs is null and not 0 = any (i.indkey::int2[])
       and st.columns = cardinality(array(select distinct unnest(i.indkey::int2[]))) as has_statistics,
       am.amname = 'btree' and not i.indisunique and i.indnatts = i.indnkeyatts and coalesce(st.lead_repeats, false)
       and coalesce((select o.option_value::boolean from pg_options_to_table(c.reloptions) o
                      where o.option_name = 'deduplicate_items'), true) as deduplicated,
       coalesce(st.has_name, false) as has_name,
       coalesce(st.width, 0)::float8 as width, coalesce(st.has_nulls, false) as has_nulls
  from pg_index i
  join pg_class c on c.oid = i.indexrelid and c.relkind = 'i'
  join pg_namespace n on n.oid = c.relnamespace
  join pg_class t on t.oid = i.indrelid
  join pg_namespace tn on tn.oid = t.relnamespace
  join pg_am am on am.oid = c.relam
  left join pg_class u on u.reltoastrelid = t.oid and t.relkind = 't'
  left join pg_namespace un on un.oid = u.relnamespace
  left join lateral (
       select count(distinct a.attnum) as columns,
              sum((1 - p.null_frac) * p.avg_width) as width,
              bool_or(p.null_frac > 0) as has_nulls,
              bool_or(a.atttypid = 'name'::regtype) as has_name,
              bool_or(a.attnum = i.indkey[0]
                      and case when p.n_distinct < 0 then p.n_distinct > -0.5
                               else p.n_distinct < 0.5 * t.reltuples end) as lead_repeats
         from pg_attribute a
         join pg_stats p on p.schemaname = tn.nspname and p.tablename = t.relname and p.attname = a.attname
                        and not p.inherited
        where a.attrelid = t.oid and a.attnum = any (i.indkey::int2[])) st on true
 cross join lateral (select array(select relid::oid from pg_partition_ancestors(c.oid) where relid <> c.oid)
                            || array(select relid::oid from pg_partition_ancestors(coalesce(u.oid, t.oid))
                                      where relid <> coalesce(u.oid, t.oid)) as relids) up
 where $1::oid is null or i.indexrelid = $1
