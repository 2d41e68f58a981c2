-- inspect_databases: the databases that a dump of the server takes, and who may connect to them.
select d.datname::text as name,
       has_database_privilege(d.oid, 'CONNECT') as permitted,
       has_database_privilege('public', d.oid, 'CONNECT') as open_to_all
  from pg_database d
 where d.datallowconn and not d.datistemplate and d.datconnlimit <> -2
 order by d.datname
