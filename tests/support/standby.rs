//! Standbys: a second server that streams from a first one.

use super::template::{server_program, succeed};
use super::{Cluster, MOMENT, wait_until};

impl Cluster {
    /// Clones this server into a standby that streams from it through a slot of its own.
    ///
    /// Returns once the standby is streaming. [`Cluster::promote`] ends its life as a standby.
    pub async fn standby(&self, settings: &[&str]) -> Self {
        let standby = Self::claim(self.major());
        let slot = format!("standby_{}", standby.address().port());
        let mut copy = server_program(self.major(), "pg_basebackup");
        copy.args(["-h", "127.0.0.1", "-p", &self.address().port().to_string(), "-U", "postgres", "--no-password"]);
        copy.args(["-X", "stream", "-c", "fast", "--no-sync", "-R", "-C", "-S", &slot]);
        succeed(copy.arg("-D").arg(standby.data())).await;
        standby.configure(settings);
        standby.launch().await;

        let mut session = self.connect("postgres").await;
        wait_until("the standby to stream", MOMENT, async || {
            let streaming: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_replication r join pg_replication_slots s on s.active_pid = r.pid
                 where s.slot_name = $1 and r.state = 'streaming'",
            )
            .bind(&slot)
            .fetch_one(&mut session)
            .await
            .unwrap();
            (streaming == 1).then_some(())
        })
        .await;
        standby
    }
}
