-- find_horizon_holder: who keeps VACUUM from removing dead rows here? The holder of the oldest one; $1 is our session.
-- Sessions of this database, prepared transactions, replication slots and standbys with feedback; another VACUUM does
-- not hold this one back. Without pg_monitor the snapshots of other roles read as null, and are not found.
-- Source: PostgreSQL documentation, "Preventing Transaction ID Wraparound Failures".
select who, application, role, does
  from (select 'session ' || a.pid as who, a.application_name as application, a.usename::text as role,
               'has had its transaction open for '
               || extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.query_start))::bigint || ' s' as does,
               greatest(age(a.backend_xmin), age(a.backend_xid)) as held
          from pg_stat_activity a
         where a.pid <> pg_backend_pid() and a.pid <> $1
           and a.backend_type is distinct from 'walsender'
           and (a.datname = current_database() or a.datid is null)
           and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
        union all
        select 'prepared transaction ' || gid, null, owner::text, 'waits to be committed or rolled back',
               age(transaction)
          from pg_prepared_xacts where database = current_database()
        union all
        select 'replication slot ' || slot_name, null, null,
               case when active then 'holds rows back for its consumer' else 'has no consumer' end, age(xmin)
          from pg_replication_slots
        union all
        select 'standby ' || pid, application_name, usename::text, 'reports its old snapshot (hot_standby_feedback)',
               age(backend_xmin)
          from pg_stat_replication) holder
 where held is not null
 order by held desc
 limit 1
