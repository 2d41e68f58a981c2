-- read_archived_columns: a table's columns ($1: its oid) with their types, and what the types of domains are made of.
-- regclass and its like are numbers of the user's own objects, so they count as the user's own types; so does tsquery, since the
-- server does not take back every value of it in binary form.
with recursive made_of as (
    select a.attnum, a.atttypid as type_oid, a.atttypmod as modifier, t.typtype, t.typbasetype, t.typtypmod
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_type t on t.oid = a.atttypid
     where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
     union all
    select m.attnum, t.oid, m.typtypmod, t.typtype, t.typbasetype, t.typtypmod
      from made_of m
      join pg_catalog.pg_type t on t.oid = m.typbasetype
     where m.typtype = 'd'
)
select a.attname::text as name,
       pg_catalog.format_type(a.atttypid, a.atttypmod) as declared,
       pg_catalog.format_type(m.type_oid, m.modifier) as base,
       pg_catalog.format_type(m.type_oid, -1) as base_plain,
       m.type_oid as base_oid,
       t.typtype::text as sort,
       t.typcategory::text as category,
       t.typnamespace = 'pg_catalog'::regnamespace and t.typname !~ '^reg|^tsquery$' as built_in,
       coalesce(e.typnamespace = 'pg_catalog'::regnamespace and e.typname !~ '^reg' and e.typtype in ('b', 'r', 'm'), false)
           as element_built_in,
       t.typarray <> 0 as has_array,
       t.typsend <> 0 and coalesce(e.typsend <> 0, true) as has_binary,
       a.attgenerated <> '' as generated,
       a.attidentity <> '' as identity,
       not a.attnotnull as nullable
  from made_of m
  join pg_catalog.pg_attribute a on a.attrelid = $1 and a.attnum = m.attnum
  join pg_catalog.pg_type t on t.oid = m.type_oid
  left join pg_catalog.pg_type e on e.oid = t.typelem
 where m.typtype <> 'd'
 order by a.attnum
