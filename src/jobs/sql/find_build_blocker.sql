-- find_build_blocker: whom would a concurrent rebuild on table $1 have to wait for at its end? $2 our working session.
-- Dropping an index ($4 false) waits for locks on its table only; a build waits for snapshots too.
-- Only what has been open for $3 seconds: younger transactions are taken to end by themselves. Every snapshot of this
-- database counts, but not those of VACUUM; and every lock on the table, even one of a mere reader or of a prepared
-- transaction, because the old copy is dropped only when nobody can be using it any more.
-- Without pg_monitor the age of other roles' transactions reads as null, and they are left to the watchdog.
-- Sources: src/backend/commands/indexcmds.c, ReindexRelationConcurrently() and WaitForOlderSnapshots().
with here as (
    select oid as db from pg_database where datname = current_database()
)
select coalesce(case when a.backend_type <> 'client backend' then a.backend_type end, 'session') || ' ' || a.pid as who,
       a.application_name as application, a.usename::text as role,
       'has had its transaction open for ' || extract(epoch from clock_timestamp() - a.xact_start)::bigint || ' s'
       || case when a.state like 'idle in transaction%' then ', and is idle in it' else '' end as does,
       extract(epoch from clock_timestamp() - a.xact_start)::float8 as age
  from pg_stat_activity a
 cross join here
 where a.datid = here.db and a.pid <> pg_backend_pid() and a.pid <> $2
   and a.xact_start < clock_timestamp() - make_interval(secs => $3)
   and a.backend_type is distinct from 'walsender'
   and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
   and ($4 and a.backend_xmin is not null
        or exists (select from pg_locks l
                    where l.locktype = 'relation' and l.database = here.db and l.relation = $1 and l.pid = a.pid
                      and l.granted))
union all
select 'prepared transaction ' || quote_literal(p.gid), null, p.owner::text, 'waits to be committed or rolled back', null
  from pg_prepared_xacts p
 cross join here
 where p.database = current_database()
   and p.prepared < clock_timestamp() - make_interval(secs => $3)
   and exists (select from pg_locks l
                 join pg_locks x on x.virtualtransaction = l.virtualtransaction and x.pid is null
                where l.locktype = 'relation' and l.database = here.db and l.relation = $1 and l.pid is null
                  -- A prepared transaction's locks are nobody's; the one on its own number tells whose they are.
                  and x.locktype = 'transactionid' and x.transactionid = p.transaction)
 order by age desc nulls first
 limit 1
