-- find_foreign_readers: which of these views ($1) and functions ($2) are there and do not read from the archive's own schema ($3, and
-- quoted $4).
select n as name
  from unnest($1::text[]) n
 where pg_catalog.to_regclass(n) is not null
   and not exists (
       select from pg_catalog.pg_rewrite w
         join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
         left join pg_catalog.pg_class c on d.refclassid = 'pg_catalog.pg_class'::regclass and c.oid = d.refobjid
         left join pg_catalog.pg_proc p on d.refclassid = 'pg_catalog.pg_proc'::regclass and p.oid = d.refobjid
         join pg_catalog.pg_namespace s on s.oid = coalesce(c.relnamespace, p.pronamespace)
        where w.ev_class = pg_catalog.to_regclass(n) and s.nspname = $3 and d.refobjid <> w.ev_class)
 union all
select n
  from unnest($2::text[]) n
  join pg_catalog.pg_proc p on p.oid = pg_catalog.to_regprocedure(n)
  join pg_catalog.pg_namespace s on s.oid = p.pronamespace
 where s.nspname <> $3 and strpos(p.prosrc, $4 || '.') = 0
