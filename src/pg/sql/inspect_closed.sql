-- inspect_closed: what in this database pg_dump would fail at for this role: tables, sequences and large objects that it
-- may not read, and tables whose rows a policy would hide, which pg_dump refuses.
-- Not looked at: what an extension makes again, and views, whose rows are not dumped.
-- Sources: src/bin/pg_dump/pg_dump.c, getTables() and setup_connection(); src/include/catalog/pg_largeobject_metadata.h.
(select format('%I.%I', n.nspname, c.relname) as name,
        case when row_security_active(c.oid) then 'row_security' else 'right' end as by
   from pg_class c
   join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'm', 'S') and c.relpersistence <> 't'
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and (not has_table_privilege(c.oid, 'SELECT') or not has_schema_privilege(n.oid, 'USAGE')
         or c.relrowsecurity and row_security_active(c.oid))
    and not exists (select from pg_depend d
                     where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  order by n.nspname, c.relname
  limit 100)
union all
(select format('%s large objects', count(*)), 'large_objects'
   from pg_largeobject_metadata m
  where not pg_has_role(m.lomowner, 'USAGE')
    and not exists (select from aclexplode(m.lomacl) a
                     where a.privilege_type = 'SELECT'
                       and case when a.grantee = 0 then true else pg_has_role(a.grantee, 'USAGE') end)
 having count(*) > 0)
