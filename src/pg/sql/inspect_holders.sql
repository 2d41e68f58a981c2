-- inspect_holders: who has kept dead rows or WAL from being removed for longer than $1 seconds.
-- Sessions and prepared transactions of every database, because the age of transaction ids is the server's; slots
-- without a consumer whatever their time, for which the server keeps no record before 17.
-- Without pg_monitor the transactions of other roles read as null, and are not found.
select 'session' as sort, a.pid::text as name, a.datname::text as database, a.usename::text as role,
       a.application_name as application, extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds,
       null::int8 as bytes
  from pg_stat_activity a
 where a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
   and (a.backend_xmin is not null or a.backend_xid is not null)
   and a.xact_start < clock_timestamp() - make_interval(secs => $1)
   and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
union all
select 'prepared', gid, database::text, owner::text, null,
       extract(epoch from clock_timestamp() - prepared)::float8, null
  from pg_prepared_xacts
 where prepared < clock_timestamp() - make_interval(secs => $1)
union all
select 'slot', slot_name::text, database::text, null, null, null,
       pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
                       restart_lsn)::int8
  from pg_replication_slots
 where not active
 order by 1, 6 desc, 2
