-- prune_runs: delete ended runs of a certain age, with what hangs on them; a batch at a time, so that it stays short.
-- $1 the age, $2 how many of each job, target and outcome are kept, $3 the batch.
-- A run goes only if $2 younger ones of its kind stay behind; what nobody has been told of yet stays.
with doomed as (
    select r.run_id
      from pgupkeep.run r
     where r.state = 'finished' and r.finished_at < clock_timestamp() - $1::interval
       and not exists (select from pgupkeep.outbox o where o.run_id = r.run_id and o.delivered_at is null)
       and (select count(*)
              from (select from pgupkeep.run n
                     where n.job = r.job and n.target = r.target and n.outcome = r.outcome
                       and (n.due_at, n.run_id) > (r.due_at, r.run_id)
                     limit $2) younger) = $2
     limit $3
       for update of r skip locked
), pruned as (
    delete from pgupkeep.run r using doomed d where r.run_id = d.run_id returning r.run_id
)
select count(*) from pruned
