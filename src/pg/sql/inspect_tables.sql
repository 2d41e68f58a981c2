-- inspect_tables: every table that a job may be for: whose it is, whether we may maintain it, and what is ours of it,
-- whether autovacuum may, and which indexes it has.
-- Source: src/backend/commands/vacuum.c for who may. No table is locked, so there are no size functions here.
select n.nspname::text as schema, c.relname::text as name,
       o.rolname::text as owner, o.rolsuper as owner_is_superuser,
       case when pg_has_role(d.datdba, 'USAGE') then true
            when current_setting('server_version_num')::int >= 170000 then has_table_privilege(c.oid, 'MAINTAIN')
            else pg_has_role(c.relowner, 'USAGE') end as permitted,
       pg_has_role(c.relowner, 'USAGE') as owned,
       has_schema_privilege(n.oid, 'USAGE') as schema_open,
       array(select x.relname::text from pg_index i join pg_class x on x.oid = i.indexrelid
              where i.indrelid = c.oid order by x.relname) as indexes,
       exists (select from pg_options_to_table(c.reloptions)
                where case when option_name = 'autovacuum_enabled' then not option_value::bool else false end)
           as autovacuum_off
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_roles o on o.oid = c.relowner
  join pg_database d on d.datname = current_database()
 where c.relkind in ('r', 'm', 'p') and c.relpersistence <> 't'
   and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
 order by schema, name
