-- read_extensions: the extensions of a database.
select e.extname::text as name, e.extversion::text as version from pg_extension e order by e.extname
