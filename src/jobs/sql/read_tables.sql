-- read_tables: what VACUUM and ANALYZE have to know of each table. $1 is one table, or null for all of them.
-- A score is a counter's share of autovacuum's own threshold: settings, overruled by the table's storage options.
-- Sources: PostgreSQL documentation, "The Autovacuum Daemon"; src/backend/postmaster/autovacuum.c,
-- relation_needs_vacanalyze(); src/backend/commands/vacuum.c for who may. One text for 14 to 18: what an older server
-- lacks reads as null. No table is locked, so there are no size functions here.
with server as (
    select current_setting('server_version_num')::int as version,
           current_setting('autovacuum_vacuum_threshold')::float8 as dead_base,
           current_setting('autovacuum_vacuum_scale_factor')::float8 as dead_scale,
           current_setting('autovacuum_vacuum_max_threshold', true)::float8 as dead_cap,
           current_setting('autovacuum_vacuum_insert_threshold')::float8 as insert_base,
           current_setting('autovacuum_vacuum_insert_scale_factor')::float8 as insert_scale,
           current_setting('autovacuum_analyze_threshold')::float8 as analyze_base,
           current_setting('autovacuum_analyze_scale_factor')::float8 as analyze_scale,
           current_setting('autovacuum_freeze_max_age')::float8 as xid_max,
           current_setting('autovacuum_multixact_freeze_max_age')::float8 as multixact_max,
           (select pg_has_role(datdba, 'USAGE') from pg_database where datname = current_database()) as owns_database
), counted as (
    -- Tables and TOAST tables alike, each with its own options and counters.
    select c.oid, c.relnamespace, c.relname, c.relkind, c.relowner, c.relisshared, c.relispartition, c.reltoastrelid,
           c.relpages, c.relallvisible, greatest(c.reltuples, 0)::float8 as tuples,
           least(coalesce((to_jsonb(c) ->> 'relallfrozen')::float8, 0) / greatest(c.relpages, 1), 1) as frozen_share,
           coalesce(o.option, '{}') as option,
           pg_stat_get_live_tuples(c.oid) as live,
           pg_stat_get_dead_tuples(c.oid) as dead,
           pg_stat_get_ins_since_vacuum(c.oid) as inserted,
           pg_stat_get_mod_since_analyze(c.oid) as modified,
           case when c.relkind <> 'p' then age(c.relfrozenxid) end as xid_age,
           case when c.relkind <> 'p' then mxid_age(c.relminmxid) end as multixact_age
      from pg_class c
      -- A TOAST table without options of its own follows its table's, as it does for autovacuum.
      left join pg_class main on c.relkind = 't' and main.reltoastrelid = c.oid
      left join lateral (select jsonb_object_agg(option_name, option_value) as option
                           from pg_options_to_table(coalesce(c.reloptions, main.reloptions))) o on true
     where c.relkind in ('r', 'm', 'p', 't') and c.relpersistence <> 't'
       and ($1::oid is null or c.oid = $1
            or c.oid = (select reltoastrelid from pg_class where oid = $1))
), scored as (
    select k.*,
           k.dead / greatest(1, least(
               coalesce((option ->> 'autovacuum_vacuum_threshold')::float8, dead_base)
               + coalesce((option ->> 'autovacuum_vacuum_scale_factor')::float8, dead_scale) * tuples,
               nullif(coalesce((option ->> 'autovacuum_vacuum_max_threshold')::float8, dead_cap), -1))) as dead_score,
           case when coalesce((option ->> 'autovacuum_vacuum_insert_threshold')::float8, insert_base) >= 0
                then k.inserted / greatest(1,
                     coalesce((option ->> 'autovacuum_vacuum_insert_threshold')::float8, insert_base)
                     + coalesce((option ->> 'autovacuum_vacuum_insert_scale_factor')::float8, insert_scale) * tuples
                       * (1 - frozen_share))
                else 0 end as insert_score,
           k.modified / greatest(1,
               coalesce((option ->> 'autovacuum_analyze_threshold')::float8, analyze_base)
               + coalesce((option ->> 'autovacuum_analyze_scale_factor')::float8, analyze_scale) * tuples) as analyze_score,
           greatest(
               k.xid_age / least(xid_max, (option ->> 'autovacuum_freeze_max_age')::float8),
               k.multixact_age / least(multixact_max, (option ->> 'autovacuum_multixact_freeze_max_age')::float8))
               as age_score
      from counted k cross join server
)
select m.oid, n.nspname::text as schema, m.relname::text as name,
       case when n.nspname = 'pg_catalog' or n.nspname = 'information_schema' then 'catalogue'
            when m.relkind = 'p' then 'partitioned' else 'plain' end as sort,
       pg_get_userbyid(m.relowner)::text as owner,
       coalesce((select rolsuper from pg_roles where oid = m.relowner), false) as owner_is_superuser, current_user::text as role,
       case when owns_database and not m.relisshared then true
            when version >= 170000 then coalesce(has_table_privilege(m.oid, 'MAINTAIN'), false)
            else pg_has_role(m.relowner, 'USAGE') end as permitted,
       m.relpages::bigint as pages, m.relallvisible::bigint as visible_pages,
       case when m.tuples > 0 then (m.inserted * m.relpages / m.tuples)::bigint else 0 end as grown_pages,
       m.live, m.dead + coalesce(t.dead, 0) as dead, m.modified,
       greatest(m.dead_score, t.dead_score)::float8 as dead_score, m.insert_score::float8 as insert_score,
       m.analyze_score::float8 as analyze_score,
       coalesce(greatest(m.age_score, t.age_score), 0)::float8 as age_score,
       extract(epoch from clock_timestamp() - greatest(pg_stat_get_last_vacuum_time(m.oid),
                                                       pg_stat_get_last_autovacuum_time(m.oid)))::float8 as vacuumed_ago,
       extract(epoch from clock_timestamp() - greatest(pg_stat_get_last_analyze_time(m.oid),
                                                       pg_stat_get_last_autoanalyze_time(m.oid)))::float8 as analyzed_ago,
       pg_stat_get_last_vacuum_time(m.oid) as last_vacuum, pg_stat_get_last_analyze_time(m.oid) as last_analyze,
       case when m.relispartition
            then array(select relid::oid from pg_partition_ancestors(m.oid) where relid <> m.oid)
            else '{}'::oid[] end as ancestors
  from scored m
 cross join server
  join pg_namespace n on n.oid = m.relnamespace
  left join scored t on t.oid = m.reltoastrelid
 where m.relkind <> 't'
