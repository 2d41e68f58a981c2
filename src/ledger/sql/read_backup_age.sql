-- read_backup_age: how many backup runs a target ($1) has had, and how many seconds ago the last good one ended.
select count(*) as runs,
       extract(epoch from clock_timestamp() - max(finished_at) filter (where outcome = 'succeeded'))::float8 as age
  from pgupkeep.run
 where kind = 'backup' and target = $1
