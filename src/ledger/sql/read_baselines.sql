-- read_baselines: what a target's indexes measured right after we had rebuilt them.
select schema_name, index_name, index_oid, bytes, tuples,
       extract(epoch from clock_timestamp() - rebuilt_at)::float8 as rebuilt_ago
  from pgupkeep.index_baseline
 where target = $1
