-- Which daemon took up its configuration last: the entries of the schedule are those of the newest one that is up.

alter table pgupkeep.daemon add column loaded_at timestamptz;
comment on column pgupkeep.daemon.loaded_at is 'When it last took up a configuration. Of daemons that differ the newest one decides while it is up.';

comment on column pgupkeep.history.reason is 'Why it was missed, skipped or cancelled, in words.';
