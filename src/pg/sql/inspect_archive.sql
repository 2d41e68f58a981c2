-- inspect_archive: the statements that hand what is in two schemas ($1 and $2) over to a role ($3), the schemas included;
-- with $4 only what we are no member of the owner of. Nothing where there are no such schemas.
with ours as (
    select oid, nspname, nspowner from pg_namespace where nspname in ($1::text, $2::text)
), things (no, what, owner) as (
    select 1, format('SCHEMA %I', nspname), nspowner from ours
    union all
    select 2, format('%s %I.%I', case c.relkind when 'v' then 'VIEW' else 'TABLE' end, o.nspname, c.relname), c.relowner
      from ours o join pg_class c on c.relnamespace = o.oid and c.relkind in ('r', 'v')
    union all
    select 3, 'FUNCTION ' || p.oid::regprocedure::text, p.proowner
      from ours o join pg_proc p on p.pronamespace = o.oid
)
select format('ALTER %s OWNER TO %I;', what, $3::text) as sql
  from things
 where case when $4::bool then not pg_has_role(owner, 'USAGE') else pg_get_userbyid(owner) <> $3::text end
 order by no, what
