-- insert_runs: a firing is a row before it is work; one that has its row already is left alone. Wakes the workers.
with written as (
    insert into pgupkeep.run (run_id, entry, job, kind, target, trigger, due_at, eligible_at, closes_at, spec,
                              exclusive_keys, state, outcome, reason, finished_at)
    select n.run_id, n.entry, n.job, n.kind, n.target, n.trigger, n.due_at, n.eligible_at, n.closes_at, n.spec,
           array(select jsonb_array_elements_text(n.exclusive_keys)), n.state, n.outcome, n.reason,
           case when n.state = 'finished' then clock_timestamp() end
      from jsonb_to_recordset($1) as n (run_id uuid, entry text, job text, kind text, target text, trigger text,
                                        due_at timestamptz, eligible_at timestamptz, closes_at timestamptz, spec jsonb,
                                        exclusive_keys jsonb, state text, outcome text, reason text)
    on conflict do nothing
    returning run_id, job, target, state, outcome, reason, due_at
), told as (
    insert into pgupkeep.outbox (run_id, subject, body)
    select (array_agg(run_id order by due_at desc))[1],
           case when count(*) = 1 then format('%s on %s was missed: %s', job, target, min(reason))
                else format('%s on %s was missed %s times, from %s to %s: %s', job, target, count(*), min(due_at),
                            max(due_at), (array_agg(reason order by due_at desc))[1]) end,
           jsonb_build_object('run_id', (array_agg(run_id order by due_at desc))[1], 'job', job, 'target', target,
                              'outcome', 'missed', 'due_at', max(due_at), 'count', count(*),
                              'error', (array_agg(reason order by due_at desc))[1])
      from written where outcome = 'missed'
     group by job, target
), rung as (
    select pg_notify('pgupkeep', '') from (select from written limit 1) as any_row
)
select w.run_id from written w left join rung on true
