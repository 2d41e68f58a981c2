-- read_disk_use: what do the databases of this server take, and may the log take? $1 is an index: `elsewhere` tells
-- whether it lies in a tablespace other than the server's usual one, on a disk that nobody has described.
-- Sources: PostgreSQL documentation, "Database Object Management Functions" for who may size a database;
-- "max_wal_size", a soft limit, which replication slots may exceed.
select coalesce(sum(case when k.known then pg_database_size(d.oid) end), 0)::bigint as databases,
       count(*) filter (where not k.known) as unseen,
       pg_size_bytes(current_setting('max_wal_size')) as wal,
       (select coalesce(nullif(c.reltablespace, 0), h.dattablespace)
               is distinct from (select oid from pg_tablespace where spcname = 'pg_default')
          from pg_class c join pg_database h on h.datname = current_database() where c.oid = $1) is true as elsewhere
  from pg_database d
 cross join lateral (
       select has_database_privilege(d.oid, 'CONNECT') or pg_has_role('pg_read_all_stats', 'USAGE') as known) k
