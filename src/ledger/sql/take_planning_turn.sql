-- take_planning_turn: one planner at a time; tried, never waited for.
select pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('pgupkeep planning', 0))
