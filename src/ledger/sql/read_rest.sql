-- read_rest: whether a job ($1) of a target ($2) neither waits nor works nor has failed within some seconds ($3).
select not exists (
    select from pgupkeep.run
     where job = $1 and target = $2
       and (state <> 'finished'
            or (outcome not in ('succeeded', 'missed', 'skipped')
                and finished_at > clock_timestamp() - make_interval(secs => $3)))) as at_rest
