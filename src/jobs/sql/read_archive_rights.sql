-- read_archive_rights: whether we may create a schema, and temporary tables, in this database.
select pg_catalog.has_database_privilege(current_database(), 'CREATE') as create_schema,
       pg_catalog.has_database_privilege(current_database(), 'TEMPORARY') as temporary,
       current_user::text as role, current_database()::text as database
