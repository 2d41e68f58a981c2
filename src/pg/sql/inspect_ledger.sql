-- inspect_ledger: is our schema here, whose is it, and which of its tables may we not write?
select n.oid is not null as present,
       pg_get_userbyid(n.nspowner)::text as owner,
       coalesce(has_schema_privilege(n.oid, 'USAGE'), true) as usable,
       array(select c.relname::text from pg_class c
              where c.relnamespace = n.oid and c.relkind = 'r'
                and not (has_table_privilege(c.oid, 'SELECT') and has_table_privilege(c.oid, 'INSERT')
                         and has_table_privilege(c.oid, 'UPDATE') and has_table_privilege(c.oid, 'DELETE'))
              order by c.relname) as closed,
       array(select c.relname::text from pg_class c
              where c.relnamespace = n.oid and c.relkind in ('r', 'v') order by c.relkind, c.relname) as relations
  from (values (1)) one(row)
  left join pg_namespace n on n.nspname = 'pgupkeep'
