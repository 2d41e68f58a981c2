-- read_archive_tables: what has to be known of tables before rows may leave them. $1 are their numbers.
-- No relation is locked. A trigger's type has bit 8 for DELETE; ev_type 4 is a rule ON DELETE; key columns of an index
-- that are expressions have no name and come as null.
-- Sources: PostgreSQL documentation, "pg_trigger", "pg_rewrite", "pg_index", "pg_class";
-- src/include/catalog/pg_trigger.h, TRIGGER_TYPE_DELETE.
select c.oid, n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind,
       c.relpersistence::text as persistence, c.relispartition as is_partition,
       exists (select from pg_inherits i where i.inhparent = c.oid) as has_children,
       exists (select from pg_inherits i where i.inhrelid = c.oid) as is_child,
       row_security_active(c.oid) as row_security,
       (select k.conname::text from pg_constraint k
         where k.conrelid = c.oid and k.contype in ('p', 'u', 'x') and k.condeferrable order by 1 limit 1) as deferrable,
       array(select w.rulename::text from pg_rewrite w
              where w.ev_class = c.oid and w.ev_type <> '1' and w.ev_enabled <> 'D' order by 1) as rules,
       array(select t.tgname::text from pg_trigger t
              where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D' and t.tgtype & 8 <> 0
              order by 1) as delete_triggers,
       case c.relreplident when 'n' then false when 'f' then true
            when 'i' then exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident)
            else exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary) end as has_identity,
       array(select distinct p.pubname::text from pg_publication_tables p join pg_publication b using (pubname)
              where p.schemaname = n.nspname and p.tablename = c.relname and b.pubdelete order by 1) as published,
       array(select b.pubname::text from pg_publication b where b.puballtables order by 1) as published_everything,
       has_schema_privilege(n.oid, 'USAGE') as may_enter,
       has_table_privilege(c.oid, 'SELECT') as may_select, has_table_privilege(c.oid, 'DELETE') as may_delete,
       has_table_privilege(c.oid, 'UPDATE') or has_any_column_privilege(c.oid, 'UPDATE') as may_update,
       has_table_privilege(c.oid, 'INSERT') as may_insert,
       current_user::text as role, greatest(c.reltuples, 0)::float8 as tuples,
       a.names as columns, a.types as types, a.type_names as type_names,
       array(select k.attname::text from pg_index i
               cross join unnest(i.indkey::int2[]) with ordinality as x (attnum, place)
               join pg_attribute k on k.attrelid = i.indrelid and k.attnum = x.attnum
              where i.indrelid = c.oid and i.indisprimary order by x.place) as primary_key,
       coalesce((select jsonb_agg((
                     select jsonb_agg(k.attname::text order by x.place)
                       from unnest(i.indkey::int2[]) with ordinality as x (attnum, place)
                       left join pg_attribute k on k.attrelid = i.indrelid and k.attnum = x.attnum and x.attnum <> 0
                      where x.place <= i.indnkeyatts))
                   from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_am am on am.oid = ic.relam
                  where i.indrelid = c.oid and i.indisvalid and i.indpred is null
                    and am.amname in ('btree', 'hash')), '[]') as indexes
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 cross join lateral (
       select array_agg(a.attname::text order by a.attnum) as names,
              array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum) as types,
              array_agg(t.typname::text order by a.attnum) as type_names
         from pg_attribute a
         join pg_type t on t.oid = a.atttypid
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) a
 where c.oid = any ($1::oid[])
