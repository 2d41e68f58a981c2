-- watch_session: is our backend still there, what is it doing, whom does it wait for, and how far is it?
-- Sources: PostgreSQL documentation, "Progress Reporting". The views of 14 to 18 agree on the columns used here.
with progress as (
    select pid, 'VACUUM' as command, phase, relid,
           case when phase in ('vacuuming indexes', 'vacuuming heap') then heap_blks_vacuumed else heap_blks_scanned end
               as done,
           heap_blks_total as total, 'blocks' as unit
      from pg_catalog.pg_stat_progress_vacuum where pid = $1
    union all
    select pid, 'ANALYZE', phase, relid,
           sample_blks_scanned, sample_blks_total, 'blocks'
      from pg_catalog.pg_stat_progress_analyze where pid = $1
    union all
    select pid, command, phase, relid,
           case when blocks_total > 0 then blocks_done else tuples_done end,
           case when blocks_total > 0 then blocks_total else tuples_total end,
           case when blocks_total > 0 then 'blocks' else 'tuples' end
      from pg_catalog.pg_stat_progress_create_index where pid = $1
    union all
    select pid, command, phase, relid,
           heap_blks_scanned, heap_blks_total, 'blocks'
      from pg_catalog.pg_stat_progress_cluster where pid = $1
    union all
    select pid, command, 'copying', relid,
           bytes_processed, bytes_total, 'bytes'
      from pg_catalog.pg_stat_progress_copy where pid = $1
)
select a.state,
       extract(epoch from clock_timestamp() - a.state_change)::float8 as state_seconds,
       case when a.wait_event_type = 'Lock' then
           coalesce((select string_agg(
                                case when b.pid = 0 then 'a prepared transaction'
                                     else 'session ' || b.pid
                                          || coalesce(' (application "' || nullif(o.application_name, '') || '")', '') end,
                                ', ' order by b.pid)
                       from (select distinct unnest(pg_catalog.pg_blocking_pids(a.pid)) as pid) b
                       left join pg_catalog.pg_stat_activity o on o.pid = b.pid),
                    'somebody who has just gone') end as waits_for,
       p.command, p.phase, n.nspname || '.' || c.relname as relation, p.done, p.total, p.unit
  from pg_catalog.pg_stat_activity a
  left join progress p on p.pid = a.pid
  left join pg_catalog.pg_class c on c.oid = p.relid
  left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where a.pid = $1 and a.backend_start = $2
 limit 1
