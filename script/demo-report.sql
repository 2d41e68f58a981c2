-- What script/demo prints at the end: runs, statements, and tables before and after. Needs the variable `before`.
\pset border 1
\pset linestyle unicode
\pset footer off
\pset null '-'

\echo
\echo Runs
select job, kind, trigger, coalesce(outcome, state) as outcome,
    round(extract(epoch from finished_at - started_at) * 1000) as "ms",
    (select count(*) from pgupkeep.step s where s.run_id = r.run_id) as statements,
    coalesce(r.error, r.reason) as why
from pgupkeep.run r
order by coalesce(started_at, due_at), run_id;

\echo Statements that took longest
select s.job, s.step, s.outcome, round(extract(epoch from s.finished_at - s.sent_at) * 1000) as "ms",
    pg_size_pretty(s.bytes_before) as "before", pg_size_pretty(s.bytes_after) as "after"
from pgupkeep.step s
order by s.finished_at - s.sent_at desc nulls last
limit 8;

\echo Tables
-- \copy takes no variables, so the line is put together first.
create temporary table before (relname name, bytes bigint, live bigint, dead bigint);
\set line '\\copy before from ' :'before' ' csv'
:line

select t.relname as "table",
    pg_size_pretty(b.bytes) as "bytes before", pg_size_pretty(pg_total_relation_size(t.relid)) as "bytes after",
    b.dead as "dead before", t.n_dead_tup as "dead after",
    t.vacuum_count as vacuums, t.analyze_count as analyzes
from pg_stat_user_tables t join before b using (relname)
where t.schemaname = 'public'
order by b.bytes desc;
