-- read_archive_standing: what the present role may do with the archive in the schemas $1 and $2: whether it may read all of it,
-- and make something in it, and an owner of something in it whose member it is not.
with ours as (
    select oid, nspname from pg_catalog.pg_namespace where nspname in ($1::text, $2::text)
), relations as (
    select c.oid, c.relowner
      from ours o
      join pg_catalog.pg_class c on c.relnamespace = o.oid and c.relkind in ('r', 'v')
     where o.nspname = $2 and c.relname ~ '^(source|rule|group_state|batch|batch_source|(segments|rows)_[0-9]+)$'
), owners as (
    select relowner as owner from relations
     union select p.proowner from ours o join pg_catalog.pg_proc p on p.pronamespace = o.oid
     where o.nspname = $2 and p.proname ~ '^all_rows_[0-9]+$'
)
select current_user::text as role,
       coalesce((select bool_and(pg_catalog.has_schema_privilege(oid, 'USAGE')) from ours), true)
       and coalesce((select bool_and(pg_catalog.has_table_privilege(oid, 'SELECT')) from relations), true) as reads,
       coalesce((select bool_and(pg_catalog.has_schema_privilege(oid, 'USAGE')
                                 and pg_catalog.has_schema_privilege(oid, 'CREATE')) from ours), true) as makes,
       r.rolname::text as owner,
       case when not r.rolsuper then r.rolname::text end as to_join,
       pg_catalog.current_setting('server_version_num')::integer >= 160000 as inherits_by_grant
  from (select 1) one
  left join lateral (
       select a.rolname, a.rolsuper
         from owners o
         join pg_catalog.pg_roles a on a.oid = o.owner
        where not pg_catalog.pg_has_role(o.owner, 'USAGE')
        order by a.rolname
        limit 1) r on true
