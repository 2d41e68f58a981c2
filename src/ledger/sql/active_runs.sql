-- active_runs: what waits or works; decides overlaps.
select job, target, run_id, state from pgupkeep.run where state in ('queued', 'running') order by created_at
