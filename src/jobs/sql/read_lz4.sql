-- read_lz4: whether this server can compress with lz4.
select coalesce(bool_or('lz4' = any (enumvals)), false)
  from pg_catalog.pg_settings
 where name = 'default_toast_compression'
