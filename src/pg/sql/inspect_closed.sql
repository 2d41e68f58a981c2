-- inspect_closed: what in this database pg_dump would fail at: tables, sequences and large objects that a role may not
-- read, and tables whose rows a policy would hide, which pg_dump refuses.
-- to_us: whether this role is kept from it; else only one is that is neither the owner nor a superuser.
-- Not looked at: what an extension makes again, and views, whose rows are not dumped.
-- Sources: src/bin/pg_dump/pg_dump.c, getTables() and setup_connection(); src/include/catalog/pg_largeobject_metadata.h.
(select format('%I.%I', n.nspname, c.relname) as name,
        case when f.unreadable and not f.hidden then 'right' else 'row_security' end as by,
        f.unreadable or f.hidden as to_us
   from pg_class c
   join pg_namespace n on n.oid = c.relnamespace
  cross join lateral (select not (has_table_privilege(c.oid, 'SELECT') and has_schema_privilege(n.oid, 'USAGE')) as unreadable,
                             c.relrowsecurity and row_security_active(c.oid) as hidden) f
  where c.relkind in ('r', 'p', 'm', 'S') and c.relpersistence <> 't'
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and (f.unreadable or c.relrowsecurity)
    and not exists (select from pg_depend d
                     where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  order by to_us desc, n.nspname, c.relname
  limit 100)
union all
(select case count(*) when 1 then '1 large object' else format('%s large objects', count(*)) end, 'large_objects', f.to_us
   from pg_largeobject_metadata m
  cross join lateral (
        select not pg_has_role(m.lomowner, 'USAGE')
               and not exists (select from aclexplode(m.lomacl) a
                                where a.privilege_type = 'SELECT'
                                  and case when a.grantee = 0 then true else pg_has_role(a.grantee, 'USAGE') end) as to_us) f
  group by f.to_us)
