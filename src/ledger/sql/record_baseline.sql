-- record_baseline: an index was rebuilt just now; what it measures.
insert into pgupkeep.index_baseline (target, schema_name, index_name, index_oid, bytes, tuples)
values ($1, $2, $3, $4, $5, $6)
on conflict (target, schema_name, index_name) do update
   set index_oid = excluded.index_oid, bytes = excluded.bytes, tuples = excluded.tuples,
       rebuilt_at = clock_timestamp()
