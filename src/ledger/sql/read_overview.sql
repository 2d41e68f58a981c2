-- read_overview: where each job stands on each target.
select job, target, last_state, last_outcome, last_due_at, last_finished_at, last_success_at, queued, running, remark
  from pgupkeep.overview
 order by target, job
