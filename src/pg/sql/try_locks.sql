-- try_locks: take each key's advisory lock for this session, without waiting.
select key, pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('pgupkeep ' || key, 0)) as taken
  from pg_catalog.unnest($1::text[]) as key
