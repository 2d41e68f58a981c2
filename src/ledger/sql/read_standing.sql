-- read_standing: where one run stands now.
select state, outcome, reason, error, progress from pgupkeep.run where run_id = $1
