-- find_pgstatindex: in which schema is the extension pgstattuple, and may we use it? No row without the extension.
select n.nspname::text as schema, has_function_privilege(p.oid, 'EXECUTE') and has_schema_privilege(n.oid, 'USAGE')
         as permitted
  from pg_extension e
  join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.classid = 'pg_proc'::regclass
  join pg_proc p on p.oid = d.objid and p.proname = 'pgstatindex' and p.proargtypes[0] = 'regclass'::regtype
  join pg_namespace n on n.oid = p.pronamespace
 where e.extname = 'pgstattuple'
