-- left_unfinished: did the last of the statements $2 that we sent to target $1 fail to come to a checked end?
select s.outcome is distinct from 'done'
  from pgupkeep.step s
  join pgupkeep.run r on r.run_id = s.run_id
 where r.target = $1 and s.statement = any ($2::text[])
 order by s.step_id desc
 limit 1
