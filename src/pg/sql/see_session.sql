-- see_session: is a worker's backend still there, or does anybody hold one of its run's locks? Decides a rescue.
-- Source: PostgreSQL documentation, "pg_locks": a bigint advisory key shows its high half in classid, its low half in
-- objid, and objsubid 1. Filtered by database, because advisory locks are per database.
select exists (select from pg_catalog.pg_stat_activity where pid = $1 and backend_start = $2) as backend_alive,
       exists (select from pg_catalog.pg_locks l
                join pg_catalog.unnest($3::text[]) as key
                  on l.classid::bigint
                     = (pg_catalog.hashtextextended('pgupkeep ' || key, 0) >> 32) & 4294967295
                 and l.objid::bigint = pg_catalog.hashtextextended('pgupkeep ' || key, 0) & 4294967295
               where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
                 and l.database = (select oid from pg_catalog.pg_database
                                    where datname = pg_catalog.current_database())) as lock_held
