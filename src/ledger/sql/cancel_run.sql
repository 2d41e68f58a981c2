-- cancel_run: end a queued run, ask a running one to stop; leave a finished one alone.
with stopped as (
    update pgupkeep.run
       set cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
           cancel_requested_by = coalesce(cancel_requested_by, session_user),
           state = case when state = 'queued' then 'finished' else state end,
           outcome = case when state = 'queued' then 'cancelled' else outcome end,
           reason = case when state = 'queued' then format('cancelled by %s %s', session_user, case attempts when 0 then 'before it began'
                                                                                         else 'between attempts' end)
                         else reason end,
           finished_at = case when state = 'queued' then clock_timestamp() else finished_at end
     where run_id = $1 and state <> 'finished'
    returning state, outcome
), rung as (
    select pg_notify('pgupkeep', '') from stopped
)
select state, outcome from stopped left join rung on true
union all
select state, outcome from pgupkeep.run where run_id = $1 and state = 'finished'
