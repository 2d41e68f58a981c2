-- find_shut_out: which of the roles $3 may not enter the archive's schemas, $1 and $2, as far as those are there; and whether the
-- present role may let them in.
select array(select distinct r
               from pg_catalog.unnest($3::text[]) r, pg_catalog.pg_namespace n
              where n.nspname in ($1::text, $2::text)
                and not pg_catalog.has_schema_privilege(r, n.oid, 'USAGE')
              order by r) as readers,
       coalesce((select bool_and(pg_catalog.has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION'))
                   from pg_catalog.pg_namespace n
                  where n.nspname in ($1::text, $2::text)), true) as grants,
       current_user::text as role
