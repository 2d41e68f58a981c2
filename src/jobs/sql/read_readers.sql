-- read_readers: who may read a table ($1: its quoted name) and enter its schema, besides the present role; `public` for
-- everybody. Policies choose rows for each reader, and do not hold in an archive: with them, only the owner reads everything.
with asked as (
    select c.relowner, c.relrowsecurity, n.oid as schema, n.nspowner, n.nspacl, c.relacl
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = pg_catalog.to_regclass($1)
), readers as (
    select a.grantee
      from asked, pg_catalog.aclexplode(coalesce(relacl, pg_catalog.acldefault('r', relowner))) a
     where a.privilege_type = 'SELECT'
), entrants as (
    select a.grantee
      from asked, pg_catalog.aclexplode(coalesce(nspacl, pg_catalog.acldefault('n', nspowner))) a
     where a.privilege_type = 'USAGE'
), allowed as (
    select r.grantee
      from readers r, asked
     where case when r.grantee = 0 then exists (select from entrants e where e.grantee = 0)
                else pg_catalog.has_schema_privilege(r.grantee, asked.schema, 'USAGE') end
     union
    select e.grantee from entrants e where e.grantee <> 0 and exists (select from readers r where r.grantee = 0)
)
select distinct case when a.grantee = 0 then 'public' else pg_catalog.pg_get_userbyid(a.grantee)::text end as reader
  from allowed a, asked
 where (not asked.relrowsecurity or a.grantee = asked.relowner)
   and (a.grantee = 0 or pg_catalog.pg_get_userbyid(a.grantee) <> current_user)
 order by 1
