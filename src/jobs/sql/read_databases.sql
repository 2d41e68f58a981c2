-- read_databases: the databases of the server that hold data of people, and whether we may connect to them.
-- Templates are left out, and so are databases that nobody may connect to, or whose removal was interrupted (-2).
select d.oid, d.datname::text as name, pg_encoding_to_char(d.encoding)::text as encoding,
       d.datcollate::text as collate, d.datctype::text as ctype,
       has_database_privilege(d.oid, 'CONNECT') as permitted,
       case when has_database_privilege(d.oid, 'CONNECT') or pg_has_role('pg_read_all_stats', 'usage')
            then pg_database_size(d.oid) else 0 end as bytes,
       current_user::text as role
  from pg_database d
 where d.datallowconn and not d.datistemplate and d.datconnlimit <> -2
 order by d.datname
