-- find_invalid_indexes: what have interrupted builds left? $1 is one table, or null for all; $2 our working session.
-- A leftover of REINDEX CONCURRENTLY is known by its identity in the catalogue, never by cutting its name apart: it is
-- invalid, and a valid index of the same table agrees with it in method, columns, operator classes, collations,
-- options, uniqueness, expressions and predicate (whose texts differ only in where they stood in their statement).
-- The name must be one that the server would have made of that twin's: cut to fit into 63 bytes, then _ccnew or _ccold,
-- then perhaps a number. `building`: somebody else works on the table just now.
-- Sources: src/backend/catalog/index.c, index_concurrently_create_copy() and index_concurrently_swap();
-- src/backend/commands/indexcmds.c, ChooseRelationName() and makeObjectName().
with here as (
    select oid as db from pg_database where datname = current_database()
), ix as (
    select i.indexrelid, i.indrelid, i.indisvalid, c.relname, n.nspname, c.relowner, n.nspowner,
           row(c.relam, i.indnatts, i.indnkeyatts, i.indisunique, i.indkey::text, i.indclass::text,
               i.indcollation::text, i.indoption::text, to_jsonb(i) ->> 'indnullsnotdistinct',
               regexp_replace(i.indexprs::text, ':location -?[0-9]+', '', 'g'),
               regexp_replace(i.indpred::text, ':location -?[0-9]+', '', 'g'))::text as identity
      from pg_index i
      join pg_class c on c.oid = i.indexrelid and c.relkind = 'i'
      join pg_namespace n on n.oid = c.relnamespace
     where i.indrelid in (select indrelid from pg_index where not indisvalid)
       and ($1::oid is null or i.indrelid = $1)
), bad as (
    select ix.*, substring(ix.relname from '_(ccnew|ccold)[0-9]*$') as suffix,
           regexp_replace(ix.relname, '_cc(new|old)[0-9]*$', '') as base
      from ix where not ix.indisvalid
)
select b.indexrelid as oid, b.indrelid as table_oid, b.nspname::text as schema, b.relname::text as name,
       coalesce(un.nspname, tn.nspname)::text as table_schema, coalesce(u.relname, t.relname)::text as table_name,
       b.suffix is not distinct from 'ccold' as rebuilt,
       g.indexrelid as twin_oid, g.nspname::text as twin_schema, g.relname::text as twin_name,
       pg_get_userbyid(b.relowner)::text as owner, current_user::text as role,
       coalesce((select rolsuper from pg_roles where oid = b.relowner), false) as owner_is_superuser,
       (pg_has_role(b.relowner, 'USAGE') or pg_has_role(b.nspowner, 'USAGE'))
       and has_schema_privilege(b.nspname, 'USAGE') as permitted,
       exists (select from pg_stat_progress_create_index p, here
                where p.datid = here.db and p.relid = b.indrelid and p.pid <> $2)
       or exists (select from pg_locks l, here
                   where l.locktype = 'relation' and l.database = here.db
                     and l.relation in (b.indrelid, b.indexrelid)
                     and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                                    'AccessExclusiveLock')
                     and l.pid is distinct from pg_backend_pid() and l.pid is distinct from $2) as building
  from bad b
  join pg_class t on t.oid = b.indrelid
  join pg_namespace tn on tn.oid = t.relnamespace
  left join pg_class u on u.reltoastrelid = t.oid and t.relkind = 't'
  left join pg_namespace un on un.oid = u.relnamespace
  left join lateral (
       select ix.indexrelid, ix.nspname, ix.relname
         from ix
        where ix.indrelid = b.indrelid and ix.indisvalid and ix.identity = b.identity and b.suffix is not null
          and (ix.relname = b.base
               or octet_length(b.relname) >= 60 and octet_length(ix.relname) > octet_length(b.base)
                  and starts_with(ix.relname, b.base))
        order by ix.relname = b.base desc, ix.indexrelid
        limit 1) g on true
 where t.relpersistence <> 't'
 order by b.indexrelid
