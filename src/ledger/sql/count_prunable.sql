-- count_prunable: what prune_runs and prune_daemons would delete. $1 the age, $2 how many of each outcome are kept.
select (select count(*)
          from (select r.finished_at, r.run_id,
                       row_number() over (partition by job, target, outcome order by due_at desc, run_id desc) as place
                  from pgupkeep.run r where state = 'finished') r
         where r.place > $2 and r.finished_at < clock_timestamp() - $1::interval
           and not exists (select from pgupkeep.outbox o where o.run_id = r.run_id and o.delivered_at is null)) as runs,
       (select count(*) from pgupkeep.daemon
         where greatest(heartbeat_at, stopped_at) < clock_timestamp() - $1::interval) as daemons
