//! The working session when a conversation on its connection failed.

use futures_util::TryStreamExt as _;
use pgupkeep::config::Connection;
use pgupkeep::pg::session::{Returned, Session};
use pgupkeep::secret::Secret;
use sqlx::Executor as _;

use crate::support::{Cluster, one_major};

const TABLE: &str = "create table t as select i as id from generate_series(1, 10) i;
    create function f() returns trigger language plpgsql as 'begin raise exception ''after all''; end';
    create trigger tr after delete on t execute function f()";

#[tokio::test]
async fn a_connection_that_is_behind_the_server_is_replaced_under_the_same_locks() {
    let Some(major) = one_major("jobs::session") else { return };
    let cluster = Cluster::start(&major, &[]).await;
    let database = cluster.create_database().await;
    cluster.execute(&database, TABLE).await;
    let connection = Connection { url: Secret::new(cluster.url(&database)), password: None };
    let mut session = Session::open(&connection, "pgupkeep/one").await.unwrap();
    let keys = ["a".to_owned(), "b".to_owned()];
    assert_eq!(session.try_locks(&keys).await.unwrap(), None);
    let pid = session.pid;

    // An ordinary failure leaves it as it is.
    let mut conn = session.lend().unwrap();
    conn.execute("begin").await.unwrap();
    conn.execute("select 1/0").await.unwrap_err();
    assert_eq!(session.take_back(conn, false).await.unwrap(), Returned::Same);
    assert_eq!(session.pid, pid);

    // One that comes after the last row of a COPY does not.
    let mut conn = session.lend().unwrap();
    conn.execute("begin").await.unwrap();
    let copied = conn.copy_out_raw("copy (delete from t returning id) to stdout").await.unwrap();
    let error = copied.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(error.to_string().contains("after all"), "{error}");
    assert_eq!(session.take_back(conn, false).await.unwrap(), Returned::Anew);
    assert_ne!(session.pid, pid);

    let mut conn = session.lend().unwrap();
    let (own, rows): (i32, i64) =
        sqlx::query_as("select pg_backend_pid(), count(*) from t").fetch_one(&mut conn).await.unwrap();
    assert_eq!((own, rows), (session.pid, 10), "its answers are those to what it is asked");
    assert_eq!(session.take_back(conn, true).await.unwrap(), Returned::Same);
    let mut other = Session::open(&connection, "pgupkeep/other").await.unwrap();
    assert_eq!(other.try_locks(&keys).await.unwrap().as_deref(), Some("a"), "the locks are held");
    session.unlock().await.unwrap();
    assert_eq!(other.try_locks(&keys).await.unwrap(), None);
    other.close().await;
    session.close().await;
}
