-- What people read is explained where they read it: the columns of the views, and the table of applied migrations.

comment on column pgupkeep.history.run_id is 'The run''s id, in order of time.';
comment on column pgupkeep.history.job is 'The job''s name.';
comment on column pgupkeep.history.kind is 'The job''s kind.';
comment on column pgupkeep.history.target is 'The database that it was for.';
comment on column pgupkeep.history.trigger is 'schedule, catch_up, manual or reload.';
comment on column pgupkeep.history.entry is 'The schedule entry that fired; null for a manual run.';
comment on column pgupkeep.history.state is 'queued, running or finished.';
comment on column pgupkeep.history.outcome is 'How it ended; null until then.';
comment on column pgupkeep.history.due_at is 'The instant that it fell due.';
comment on column pgupkeep.history.started_at is 'When its first attempt began.';
comment on column pgupkeep.history.finished_at is 'When it ended.';
comment on column pgupkeep.history.duration is 'From the start of its first attempt to its end, or to now.';
comment on column pgupkeep.history.attempts is 'How many attempts began.';
comment on column pgupkeep.history.statements is 'How many statements it sent.';
comment on column pgupkeep.history.bytes_before is 'Bytes of what it worked on, before.';
comment on column pgupkeep.history.bytes_after is 'Bytes of what it worked on, after.';
comment on column pgupkeep.history.reason is 'Why it was missed, skipped or cancelled, or what it waits for, in words.';
comment on column pgupkeep.history.error is 'The last attempt''s error.';

comment on column pgupkeep.overview.job is 'The job''s name.';
comment on column pgupkeep.overview.target is 'The database.';
comment on column pgupkeep.overview.kind is 'The job''s kind.';
comment on column pgupkeep.overview.last_state is 'queued, running or finished: the newest run.';
comment on column pgupkeep.overview.last_outcome is 'How that run ended; null until then.';
comment on column pgupkeep.overview.last_due_at is 'When it fell due.';
comment on column pgupkeep.overview.last_finished_at is 'When it ended.';
comment on column pgupkeep.overview.last_success_at is 'When the last run that succeeded ended; null if none did.';
comment on column pgupkeep.overview.queued is 'How many runs wait.';
comment on column pgupkeep.overview.running is 'How many are at work.';
comment on column pgupkeep.overview.remark is 'The newest run''s error, or its reason.';

comment on table pgupkeep.migration is 'Which versions of these tables were made, and when; kept by the library that applies them.';
comment on column pgupkeep.migration.version is 'The number of the file under migrations/.';
comment on column pgupkeep.migration.description is 'The rest of its name.';
comment on column pgupkeep.migration.installed_on is 'When it was applied.';
comment on column pgupkeep.migration.success is 'Whether it was applied to its end.';
comment on column pgupkeep.migration.checksum is 'The file''s checksum: a binary whose file differs refuses to go on.';
comment on column pgupkeep.migration.execution_time is 'How long that took, in nanoseconds.';
