//! The `prune_history` job: what goes, and what must stay.

use serde_json::json;

use super::workplace::{QUIET, Workplace, job};
use crate::support::{Cluster, majors};

const SUITE: &str = "jobs::prune_history";

/// Two hundred days of a job that fails on every tenth, one that has not run for long, what waits and works, daemons.
const HISTORY: &str = "
insert into pgupkeep.run (run_id, entry, job, kind, target, trigger, due_at, eligible_at, spec, exclusive_keys, state,
                          outcome, finished_at)
select gen_random_uuid(), 'daily/vacuum', 'vacuum', 'vacuum', 'a', 'schedule', at, at, '{}', '{}', 'finished',
       case when day % 10 = 0 then 'failed' else 'succeeded' end, at
  from generate_series(1, 200) day, lateral (select now() - make_interval(days => day) + interval '1 hour' as at) x;
insert into pgupkeep.run (run_id, entry, job, kind, target, trigger, due_at, eligible_at, spec, exclusive_keys, state,
                          outcome, finished_at)
select gen_random_uuid(), 'yearly/old', 'old', 'sql', 'a', 'schedule', at, at, '{}', '{}', 'finished', 'succeeded', at
  from generate_series(1, 5) n, lateral (select now() - make_interval(years => n) as at) x;
insert into pgupkeep.run (run_id, job, kind, target, trigger, due_at, eligible_at, spec, exclusive_keys)
values (gen_random_uuid(), 'waiting', 'sql', 'gone', 'manual', now() - interval '1 year', now(), '{}', '{}');
insert into pgupkeep.attempt (run_id, attempt, daemon_id, lease_token, finished_at, outcome)
select run_id, 1, gen_random_uuid(), gen_random_uuid(), finished_at, outcome from pgupkeep.run where state = 'finished';
insert into pgupkeep.step (run_id, attempt, job, step) select run_id, 1, job, 'x' from pgupkeep.run;
insert into pgupkeep.outbox (run_id, subject, body, delivered_at)
select run_id, 'failed', '{}', case when due_at > now() - interval '150 days' then now() end
  from pgupkeep.run where outcome = 'failed';
insert into pgupkeep.daemon (daemon_id, version, pid, started_at, heartbeat_at, stopped_at)
values (gen_random_uuid(), '1', 1, now() - interval '1 year', now() - interval '1 year', null),
       (gen_random_uuid(), '1', 2, now() - interval '1 year', now() - interval '300 days', now() - interval '299 days'),
       (gen_random_uuid(), '1', 3, now() - interval '1 year', now(), null);
";

#[tokio::test]
async fn old_history_goes_and_what_must_stay_stays_on_every_major() {
    for major in majors(SUITE) {
        let cluster = Cluster::start(&major, QUIET).await;
        let place = Workplace::new(&cluster, "").await;
        cluster.execute(&place.control, HISTORY).await;
        let count = async |condition: &str| {
            place
                .ask_control(&format!("select count(*) from pgupkeep.run where {condition}"))
                .await
                .parse::<i64>()
                .unwrap()
        };

        // Of the days 91 to 200 the 99 successes go; of the failures the ten newest end at day 100, and of the ten
        // before them people have not been told of five yet.
        let spec = job("prune", "prune_history", &json!({ "batch": 7 }));
        let planned = place.plan(&spec).await;
        assert_eq!(planned, ["prune history older than 90 days: 104 runs, 2 daemons"], "{major:?}");
        let went = place.run(&spec).await.succeeded();
        assert_eq!(went.rows[0].rows_affected, Some(106));
        assert_eq!(went.rows[0].detail, Some(json!({ "runs": 104, "daemons": 2 })));
        assert_eq!(went.rows[0].statement, None);
        assert_eq!(place.plan(&spec).await, Vec::<String>::new());

        assert_eq!(count("job = 'vacuum' and outcome = 'succeeded'").await, 81);
        assert_eq!(count("job = 'vacuum' and outcome = 'failed' and due_at > now() - interval '100 days'").await, 10);
        assert_eq!(count("job = 'vacuum' and outcome = 'failed' and due_at < now() - interval '150 days'").await, 5);
        assert_eq!(count("job = 'old'").await, 5);
        assert_eq!(count("job = 'waiting'").await, 1);
        assert_eq!(place.ask_control("select count(*) from pgupkeep.outbox where delivered_at is null").await, "5");
        let orphans = "select count(*) from pgupkeep.step s where not exists (select from pgupkeep.run r where r.run_id = s.run_id)";
        assert_eq!(place.ask_control(orphans).await, "0");

        // With keep_last 1 the last success and the last failure of each job stay all the same.
        let spec = job("prune", "prune_history", &json!({ "older_than": "1 day", "keep_last": 1 }));
        place.run(&spec).await.succeeded();
        assert_eq!(count("job = 'vacuum' and outcome = 'succeeded'").await, 1);
        assert_eq!(count("job = 'vacuum' and outcome = 'failed'").await, 6);
        assert_eq!(count("job = 'old'").await, 1);
        assert_eq!(count("job = 'prune'").await, 2);
    }
}
