-- read_readers: who may read a table ($1: its quoted name) besides the present role; null for everybody.
select distinct case when a.grantee = 0 then null else pg_catalog.pg_get_userbyid(a.grantee)::text end as reader
  from pg_catalog.pg_class c
 cross join lateral pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) a
 where c.oid = pg_catalog.to_regclass($1)
   and a.privilege_type = 'SELECT'
   and (a.grantee = 0 or pg_catalog.pg_get_userbyid(a.grantee) <> current_user)
