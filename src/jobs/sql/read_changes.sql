-- read_changes: what this session has changed that is not yet reported, by table; temporary tables left out. Large objects
-- are the only rows of the catalogue that belong to an application.
select s.relid as oid, s.schemaname::text as schema, s.relname::text as name,
       s.n_tup_ins as inserted, s.n_tup_upd as updated, s.n_tup_del as deleted
  from pg_catalog.pg_stat_xact_all_tables s
 where (s.n_tup_ins > 0 or s.n_tup_upd > 0 or s.n_tup_del > 0)
   and s.schemaname not like 'pg\_temp\_%'
   and s.schemaname not like 'pg\_toast%'
   and (s.schemaname not in ('pg_catalog', 'information_schema')
        or s.relname in ('pg_largeobject', 'pg_largeobject_metadata'))
