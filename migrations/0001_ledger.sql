-- The ledger: what is due, what ran, what it did. Forward only.
-- Whatever a person may want to know is in two views, overview and history; see the end.

create table pgupkeep.daemon (
    daemon_id    uuid        primary key,
    version      text        not null,
    pid          integer     not null,
    started_at   timestamptz not null default clock_timestamp(),
    heartbeat_at timestamptz not null default clock_timestamp(),
    stopped_at   timestamptz
);
comment on table pgupkeep.daemon is 'One row for each start of a daemon. It is up while heartbeat_at is fresh and stopped_at is null.';
comment on column pgupkeep.daemon.daemon_id is 'Made anew at each start; never a host name.';
comment on column pgupkeep.daemon.version is 'The version of the binary.';
comment on column pgupkeep.daemon.pid is 'Its process id, in its own process namespace.';
comment on column pgupkeep.daemon.started_at is 'When it registered itself here.';
comment on column pgupkeep.daemon.heartbeat_at is 'When it last said that it is alive, by this database''s clock.';
comment on column pgupkeep.daemon.stopped_at is 'When it ended in good order.';

create table pgupkeep.schedule (
    entry       text        primary key,
    definition  text        not null,
    cursor_at   timestamptz not null,
    next_due_at timestamptz,
    known_since timestamptz not null default clock_timestamp(),
    retired_at  timestamptz
);
comment on table pgupkeep.schedule is 'The cursors: up to where each schedule entry has been turned into runs.';
comment on column pgupkeep.schedule.entry is 'The entry''s name: its "name", else "<cadence>/<job>".';
comment on column pgupkeep.schedule.definition is 'What decides its instants: cadence and time zone. When it changes, the cursor starts again at that moment.';
comment on column pgupkeep.schedule.cursor_at is 'Every instant up to here has its rows in run.';
comment on column pgupkeep.schedule.next_due_at is 'The next instant, as last computed.';
comment on column pgupkeep.schedule.known_since is 'Since when the entry has been in the configuration.';
comment on column pgupkeep.schedule.retired_at is 'When it was found to have left the configuration; its history stays.';

create table pgupkeep.run (
    run_id              uuid        primary key,
    entry               text,
    job                 text        not null,
    kind                text        not null,
    target              text        not null,
    trigger             text        not null check (trigger in ('schedule', 'catch_up', 'manual', 'reload')),
    due_at              timestamptz not null,
    eligible_at         timestamptz not null,
    closes_at           timestamptz,
    spec                jsonb       not null,
    exclusive_keys      text[]      not null,
    state               text        not null default 'queued' check (state in ('queued', 'running', 'finished')),
    outcome             text        check (outcome in ('succeeded', 'partial', 'failed', 'cancelled', 'timed_out', 'lost', 'missed', 'skipped')),
    reason              text,
    error               text,
    fault               text,
    attempts            integer     not null default 0,
    failures            integer     not null default 0,
    losses              integer     not null default 0,
    created_at          timestamptz not null default clock_timestamp(),
    started_at          timestamptz,
    finished_at         timestamptz,
    lease_token         uuid,
    lease_until         timestamptz,
    progress            jsonb,
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    check ((state = 'finished') = (outcome is not null)),
    check ((state = 'finished') = (finished_at is not null)),
    check ((state = 'running') = (lease_token is not null and lease_until is not null)),
    unique (entry, job, target, due_at)
);
comment on table pgupkeep.run is 'One durable request for work: a firing, or a person''s wish. A firing is a row here before it is work.';
comment on column pgupkeep.run.run_id is 'Its id, in order of time.';
comment on column pgupkeep.run.entry is 'The schedule entry that fired; null for a manual run.';
comment on column pgupkeep.run.job is 'The job''s name.';
comment on column pgupkeep.run.kind is 'The job''s kind.';
comment on column pgupkeep.run.target is 'The database that it is for.';
comment on column pgupkeep.run.trigger is 'schedule, catch_up, manual or reload.';
comment on column pgupkeep.run.due_at is 'The instant that it fell due, not when that was noticed.';
comment on column pgupkeep.run.eligible_at is 'Not before: due instant plus jitter, the window''s opening, or the back-off after a failure.';
comment on column pgupkeep.run.closes_at is 'Not after: when its window closes; null without a window.';
comment on column pgupkeep.run.spec is 'The job as it was configured when it fired; a later reload does not change it.';
comment on column pgupkeep.run.exclusive_keys is 'No two running runs hold the same key.';
comment on column pgupkeep.run.state is 'queued, running or finished.';
comment on column pgupkeep.run.outcome is 'How it ended; null until then.';
comment on column pgupkeep.run.reason is 'Why it was missed, skipped or cancelled, or what it waits for, in words.';
comment on column pgupkeep.run.error is 'The last attempt''s error.';
comment on column pgupkeep.run.fault is 'The code that the error is handled by.';
comment on column pgupkeep.run.attempts is 'How many attempts began.';
comment on column pgupkeep.run.failures is 'How many of them failed, in the sense of the job''s retries.';
comment on column pgupkeep.run.losses is 'How many of them ended with their worker.';
comment on column pgupkeep.run.created_at is 'When the row was written.';
comment on column pgupkeep.run.started_at is 'When its first attempt began.';
comment on column pgupkeep.run.finished_at is 'When it ended.';
comment on column pgupkeep.run.lease_token is 'Who holds this may write; drawn anew by each claim.';
comment on column pgupkeep.run.lease_until is 'How long the claim is good without a heartbeat.';
comment on column pgupkeep.run.progress is 'How far the present step is, as last seen.';
comment on column pgupkeep.run.cancel_requested_at is 'When somebody asked for it to stop.';
comment on column pgupkeep.run.cancel_requested_by is 'The database role that asked.';
create index run_queue on pgupkeep.run (eligible_at) where state = 'queued';
create index run_active on pgupkeep.run (created_at) where state in ('queued', 'running');
create index run_working on pgupkeep.run (target) where state = 'running';
create index run_of_job on pgupkeep.run (job, target, due_at desc);
-- The newest runs of all jobs, without looking at the steps of the others.
create index run_by_time on pgupkeep.run (due_at desc, run_id desc);

create table pgupkeep.attempt (
    run_id        uuid        not null references pgupkeep.run on delete cascade,
    attempt       integer     not null,
    daemon_id     uuid        not null,
    lease_token   uuid        not null,
    backend_pid   integer,
    backend_start timestamptz,
    started_at    timestamptz not null default clock_timestamp(),
    heartbeat_at  timestamptz not null default clock_timestamp(),
    finished_at   timestamptz,
    outcome       text        check (outcome in ('succeeded', 'partial', 'failed', 'cancelled', 'timed_out', 'lost', 'handed_back')),
    steps_done    integer,
    steps_planned integer,
    error         text,
    fault         text,
    primary key (run_id, attempt),
    check ((finished_at is null) = (outcome is null))
);
comment on table pgupkeep.attempt is 'Each time that a worker took a run, and how that ended.';
comment on column pgupkeep.attempt.run_id is 'The run.';
comment on column pgupkeep.attempt.attempt is 'Counted from 1.';
comment on column pgupkeep.attempt.daemon_id is 'Whose worker; for run --local a process of its own.';
comment on column pgupkeep.attempt.lease_token is 'The token it worked under.';
comment on column pgupkeep.attempt.backend_pid is 'The server process of its working session on the target.';
comment on column pgupkeep.attempt.backend_start is 'When that server process began.';
comment on column pgupkeep.attempt.started_at is 'When it was claimed.';
comment on column pgupkeep.attempt.heartbeat_at is 'When its worker last said that it is alive.';
comment on column pgupkeep.attempt.finished_at is 'When it ended.';
comment on column pgupkeep.attempt.outcome is 'How it ended; handed_back is a worker giving the run back to the queue.';
comment on column pgupkeep.attempt.steps_done is 'How many of its planned steps were done.';
comment on column pgupkeep.attempt.steps_planned is 'How many steps it planned.';
comment on column pgupkeep.attempt.error is 'What went wrong, or why it ended, in words.';
comment on column pgupkeep.attempt.fault is 'The code that the error is handled by.';

create table pgupkeep.step (
    step_id       bigint      generated always as identity primary key,
    run_id        uuid        not null references pgupkeep.run on delete cascade,
    attempt       integer     not null,
    job           text        not null,
    step          text        not null,
    statement     text,
    sent_at       timestamptz not null default clock_timestamp(),
    finished_at   timestamptz,
    outcome       text        check (outcome in ('done', 'not_done', 'failed', 'cancelled', 'lost')),
    rows_affected bigint,
    bytes_before  bigint,
    bytes_after   bigint,
    error         text,
    detail        jsonb,
    check ((finished_at is null) = (outcome is null))
);
comment on table pgupkeep.step is 'Every statement sent to a target, one row each, written before it is sent.';
comment on column pgupkeep.step.step_id is 'In the order of sending.';
comment on column pgupkeep.step.run_id is 'The run.';
comment on column pgupkeep.step.attempt is 'The attempt.';
comment on column pgupkeep.step.job is 'The job; inside a sequence, the inner one.';
comment on column pgupkeep.step.step is 'The step as the plan names it.';
comment on column pgupkeep.step.statement is 'The SQL as sent; null where a step sends none itself.';
comment on column pgupkeep.step.sent_at is 'When it was about to be sent.';
comment on column pgupkeep.step.finished_at is 'When its end was known.';
comment on column pgupkeep.step.outcome is 'done means checked, not only answered; not_done means answered normally but without effect.';
comment on column pgupkeep.step.rows_affected is 'Rows that it changed or returned.';
comment on column pgupkeep.step.bytes_before is 'Bytes of what it worked on, before.';
comment on column pgupkeep.step.bytes_after is 'Bytes of what it worked on, after.';
comment on column pgupkeep.step.error is 'What went wrong, or why it is not done.';
comment on column pgupkeep.step.detail is 'What its kind saw besides.';
create index step_of_run on pgupkeep.step (run_id, step_id);

create table pgupkeep.outbox (
    outbox_id    bigint      generated always as identity primary key,
    run_id       uuid        not null references pgupkeep.run on delete cascade,
    subject      text        not null,
    body         jsonb       not null,
    created_at   timestamptz not null default clock_timestamp(),
    delivered_at timestamptz
);
comment on table pgupkeep.outbox is 'What people must be told, written in the transaction that made it true, delivered by one daemon afterwards.';
comment on column pgupkeep.outbox.outbox_id is 'In the order of writing.';
comment on column pgupkeep.outbox.run_id is 'The run it is about.';
comment on column pgupkeep.outbox.subject is 'One line for people.';
comment on column pgupkeep.outbox.body is 'The same for programs.';
comment on column pgupkeep.outbox.created_at is 'When it became true.';
comment on column pgupkeep.outbox.delivered_at is 'When a daemon delivered it; null until then.';
-- A run is deleted with its notices, so pruning looks for them by run.
create index outbox_of_run on pgupkeep.outbox (run_id);
create index outbox_waiting on pgupkeep.outbox (outbox_id) where delivered_at is null;

create view pgupkeep.history as
select r.run_id, r.job, r.kind, r.target, r.trigger, r.entry, r.state, r.outcome, r.due_at, r.started_at, r.finished_at,
       case when r.started_at is not null
            then coalesce(r.finished_at, clock_timestamp()) - r.started_at end as duration,
       r.attempts, coalesce(s.statements, 0) as statements, s.bytes_before, s.bytes_after, r.reason, r.error
  from pgupkeep.run r
  left join lateral (
       select count(*) filter (where statement is not null) as statements,
              sum(bytes_before) as bytes_before, sum(bytes_after) as bytes_after
         from pgupkeep.step where run_id = r.run_id) s on true;
comment on view pgupkeep.history is 'Every run with what it did, for people: select * from pgupkeep.history order by due_at desc.';

create view pgupkeep.overview as
select j.job, j.target, l.kind,
       l.state as last_state, l.outcome as last_outcome, l.due_at as last_due_at, l.finished_at as last_finished_at,
       g.finished_at as last_success_at,
       (select count(*) from pgupkeep.run r where r.job = j.job and r.target = j.target and r.state = 'queued') as queued,
       (select count(*) from pgupkeep.run r where r.job = j.job and r.target = j.target and r.state = 'running') as running,
       coalesce(l.error, l.reason) as remark
  from (select distinct job, target from pgupkeep.run) j
 cross join lateral (
       select * from pgupkeep.run r where r.job = j.job and r.target = j.target
        order by r.due_at desc, r.run_id desc limit 1) l
  left join lateral (
       select r.finished_at from pgupkeep.run r
        where r.job = j.job and r.target = j.target and r.outcome = 'succeeded'
        order by r.due_at desc limit 1) g on true;
comment on view pgupkeep.overview is 'Where each job stands on each target, for people.';
