-- read_readers: who may read a table ($1: its quoted name) besides the present role; `public` for everybody. Policies
-- choose rows for each reader, and do not hold in an archive: with them, only the owner reads everything.
select distinct case when a.grantee = 0 then 'public' else pg_catalog.pg_get_userbyid(a.grantee)::text end as reader
  from pg_catalog.pg_class c
 cross join lateral pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) a
 where c.oid = pg_catalog.to_regclass($1)
   and a.privilege_type = 'SELECT'
   and (not c.relrowsecurity or a.grantee = c.relowner)
   and (a.grantee = 0 or pg_catalog.pg_get_userbyid(a.grantee) <> current_user)
 order by 1
