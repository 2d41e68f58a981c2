-- What an index measured right after pgupkeep had rebuilt it: the scale by which later bloat is judged.

create table pgupkeep.index_baseline (
    target      text             not null,
    schema_name text             not null,
    index_name  text             not null,
    index_oid   oid              not null,
    bytes       bigint           not null,
    tuples      double precision not null check (tuples > 0),
    rebuilt_at  timestamptz      not null default clock_timestamp(),
    primary key (target, schema_name, index_name)
);
comment on table pgupkeep.index_baseline is 'Each index as it was right after pgupkeep last rebuilt it. bytes / tuples is the scale by which later bloat is judged.';
comment on column pgupkeep.index_baseline.target is 'The database that the index is in.';
comment on column pgupkeep.index_baseline.schema_name is 'The schema of the index.';
comment on column pgupkeep.index_baseline.index_name is 'The name of the index.';
comment on column pgupkeep.index_baseline.index_oid is 'Its number in the catalogue; an index made anew under the same name has another one, and no baseline.';
comment on column pgupkeep.index_baseline.bytes is 'Its size.';
comment on column pgupkeep.index_baseline.tuples is 'The number of its entries, as the rebuild counted them.';
comment on column pgupkeep.index_baseline.rebuilt_at is 'When that was, by this database''s clock.';
