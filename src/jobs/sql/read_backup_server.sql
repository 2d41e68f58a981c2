-- read_backup_server: what a backup says of the server that it is of.
-- Source: PostgreSQL documentation, "System Information Functions": pg_control_system() may be called by everybody.
select (select c.system_identifier::text from pg_control_system() c),
       current_setting('server_version'),
       current_database()::text,
       clock_timestamp()
