-- register_entries: daemon $2 takes up a configuration; a changed schedule never fires retroactively, so its cursor starts now.
-- With $3 it takes its own back from another daemon that is gone: what that one had retired goes on where it stopped.
with loaded as (
    update pgupkeep.daemon set loaded_at = clock_timestamp() where daemon_id = $2
), given as (
    select g.entry, g.definition from jsonb_to_recordset($1) as g (entry text, definition text)
), known as (
    select s.entry, s.definition, s.retired_at from pgupkeep.schedule s
), retired as (
    update pgupkeep.schedule s set retired_at = clock_timestamp(), next_due_at = null
     where s.retired_at is null and not exists (select from given g where g.entry = s.entry)
    returning s.entry
), taken as (
    insert into pgupkeep.schedule (entry, definition, cursor_at)
    select entry, definition, clock_timestamp() from given
    on conflict (entry) do update
       set definition = excluded.definition, next_due_at = null, retired_at = null,
           cursor_at = case when $3 and schedule.definition = excluded.definition then schedule.cursor_at
                            else excluded.cursor_at end
     where schedule.definition <> excluded.definition or schedule.retired_at is not null
    returning schedule.entry
)
select entry, 'retired' from retired
union all
select t.entry, case when k.entry is null then 'new' else 'changed' end
  from taken t left join known k on k.entry = t.entry
 order by 1
