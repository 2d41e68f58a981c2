-- read_entry_gauges: the next instant of every schedule entry that is configured somewhere.
select entry, extract(epoch from next_due_at)::float8 as next_due
  from pgupkeep.schedule
 where retired_at is null and next_due_at is not null
