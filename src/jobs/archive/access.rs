//! Who may do what with an archive: its readers follow those of the tables, and whoever works on it has to own it.

use sqlx::PgConnection;

use super::store::{CATALOGUE_LIMIT, Store};
use crate::fault::Fault;
use crate::jobs::context::JobError;
use crate::pg::connect::within;
use crate::pg::statement::{Ident, Qualified, Statement, literal};

/// What the role is to an archive.
#[derive(Debug, sqlx::FromRow)]
struct Standing {
    role: String,
    /// Whether it may read all of the archive.
    reads: bool,
    /// Whether it may make something in its schemas.
    makes: bool,
    /// An owner of something in it whose member the role is not.
    owner: Option<String>,
    /// The same, unless it is a superuser, whose membership nobody should be given.
    to_join: Option<String>,
    /// Whether a GRANT says that the role has the rights of what it becomes a member of; the role itself does so before 16.
    inherits_by_grant: bool,
}

/// Readers of a table who cannot enter the archive's schemas.
#[derive(Debug, sqlx::FromRow)]
struct ShutOut {
    readers: Vec<String>,
    /// Whether the present role may let them in.
    grants: bool,
    role: String,
}

/// A grantee, as SQL names it.
fn as_role(name: &String) -> String {
    if name == "public" { name.clone() } else { Ident(name.clone()).to_string() }
}

impl Store {
    async fn standing(&self, conn: &mut PgConnection) -> Result<Standing, JobError> {
        let query = sqlx::query_as(include_str!("../sql/read_archive_standing.sql"));
        let query = query.bind(&self.schema.0).bind(&self.store.0);
        Ok(within(CATALOGUE_LIMIT, query.fetch_one(conn)).await?)
    }

    /// Refuses to read an archive that the role may not read, and names the GRANT.
    ///
    /// # Errors
    /// That, or the server cannot be asked.
    pub async fn check_readable(&self, conn: &mut PgConnection) -> Result<(), JobError> {
        let Standing { role, reads, .. } = self.standing(conn).await?;
        if reads {
            return Ok(());
        }
        let (Self { schema, store }, role) = (self, Ident(role));
        Err(JobError::Refused {
            fault: Fault::Privilege,
            message: format!(
                "the role {role} may not read all of the archive: GRANT USAGE ON SCHEMA {schema}, {store} TO {role}; \
                 GRANT SELECT ON ALL TABLES IN SCHEMA {schema}, {store} TO {role}; nothing was touched"
            ),
        })
    }

    /// Refuses to work on an archive that archivals could not go on with, and names the GRANT.
    ///
    /// # Errors
    /// That, or the server cannot be asked.
    pub async fn check_usable(&self, conn: &mut PgConnection) -> Result<(), JobError> {
        self.check_owned(conn).await?;
        self.check_makes(conn).await
    }

    /// Refuses to make something in schemas in which the role may make nothing, and names the GRANT.
    ///
    /// # Errors
    /// That, or the server cannot be asked.
    pub async fn check_makes(&self, conn: &mut PgConnection) -> Result<(), JobError> {
        let Standing { role, makes, .. } = self.standing(conn).await?;
        if makes {
            return Ok(());
        }
        let missing = self.missing_schemas(conn).await?;
        let there = [&self.schema, &self.store].into_iter().filter(|schema| !missing.contains(schema));
        let (there, role) = (there.map(ToString::to_string).collect::<Vec<_>>().join(", "), Ident(role));
        Err(JobError::Refused {
            fault: Fault::Privilege,
            message: format!(
                "the role {role} may make nothing where the archive is to be: GRANT USAGE, CREATE ON SCHEMA {there} TO {role} \
                 WITH GRANT OPTION (so that it can let in who may read the tables); nothing was touched"
            ),
        })
    }

    /// Refuses to work on an archive that is not the role's own, and says how it becomes that.
    ///
    /// # Errors
    /// That, or the server cannot be asked.
    pub async fn check_owned(&self, conn: &mut PgConnection) -> Result<(), JobError> {
        let Standing { role, owner, to_join, inherits_by_grant, .. } = self.standing(conn).await?;
        let Some(owner) = owner.map(Ident) else { return Ok(()) };
        let (schema, role) = (&self.schema, Ident(role));
        let remedy = match to_join.map(Ident) {
            None => "`pgupkeep doctor` prints the statements that hand it over".to_owned(),
            Some(owner) => {
                let grant = if inherits_by_grant {
                    format!("GRANT {owner} TO {role} WITH INHERIT TRUE")
                } else {
                    format!("GRANT {owner} TO {role} (which must not be NOINHERIT)")
                };
                format!("{grant}, or hand it over by the statements that `pgupkeep doctor` prints")
            }
        };
        Err(JobError::Refused {
            fault: Fault::Privilege,
            message: format!(
                "the archive in the schema {schema} is {owner}'s, and the role {role} could neither write to it nor give rows back: \
                 {remedy}; nothing was touched"
            ),
        })
    }

    /// Who may read a table, besides the present role.
    async fn readers(&self, conn: &mut PgConnection, table: &Qualified) -> Result<Vec<String>, JobError> {
        let query = sqlx::query_scalar::<_, String>(include_str!("../sql/read_readers.sql")).bind(table.to_string());
        Ok(within(CATALOGUE_LIMIT, query.fetch_all(conn)).await?)
    }

    async fn shut_out(&self, conn: &mut PgConnection, readers: &[String]) -> Result<ShutOut, JobError> {
        let query = sqlx::query_as(include_str!("../sql/find_shut_out.sql"));
        let query = query.bind(&self.schema.0).bind(&self.store.0).bind(readers);
        Ok(within(CATALOGUE_LIMIT, query.fetch_one(conn)).await?)
    }

    /// Who may read a table and not enter the archive, which the role cannot let them: told with the GRANT.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn tell_shut_out(&self, conn: &mut PgConnection, table: &Qualified) -> Result<Option<String>, JobError> {
        let readers = self.readers(conn, table).await?;
        let ShutOut { readers, grants, role } = self.shut_out(conn, &readers).await?;
        if grants || readers.is_empty() {
            return Ok(None);
        }
        let (Self { schema, store }, role) = (self, Ident(role));
        let readers = readers.iter().map(as_role).collect::<Vec<_>>().join(", ");
        Ok(Some(format!(
            "who may read {} should be able to read its archived rows, and the role {role} cannot let them in: \
             GRANT USAGE ON SCHEMA {schema}, {store} TO {readers}, or once to {role} WITH GRANT OPTION",
            table.plain()
        )))
    }

    /// Whoever may read the table may read its archived rows: what has to be granted and revoked for that. What others
    /// have granted is left alone.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn access(&self, conn: &mut PgConnection, table: &Qualified) -> Result<Vec<String>, JobError> {
        let sources = self.sources(conn, Some(table)).await?;
        if !sources.iter().any(|source| source.current) {
            return Ok(Vec::new());
        }
        let readers = self.readers(conn, table).await?;
        let shut_out = self.shut_out(conn, &readers).await?;
        let Self { schema, store } = self;
        // Roles that were renamed have kept what they had, and those that were dropped have nothing.
        let granted = Statement::built(format!(
            "select s.source_id, s.readers, array(select r from unnest(s.readers) r where r = 'public' \
             or exists (select from pg_catalog.pg_roles p where p.rolname = r)) from {} s \
             where s.table_schema = $1 and s.table_name = $2",
            self.table("source")
        ));
        let query = sqlx::query_as::<_, (i64, Vec<String>, Vec<String>)>(granted.to_sql());
        let query = query.bind(&table.schema.0).bind(&table.name.0);
        let granted = within(CATALOGUE_LIMIT, query.fetch_all(&mut *conn)).await?;
        let foreign = self.foreign_readers(conn, table).await?;
        let mut statements = Vec::new();
        for (source_id, recorded, there) in granted {
            if recorded == readers && (shut_out.readers.is_empty() || !shut_out.grants) {
                continue;
            }
            let Some(source) = sources.iter().find(|source| source.place.source_id == source_id) else { continue };
            let place = &source.place;
            let views = if source.current { vec![place.shown(), place.all()] } else { Vec::new() };
            let views = views.into_iter().map(|view| view.to_string()).filter(|view| !foreign.contains(view));
            let views = std::iter::once(place.rows().to_string()).chain(views).collect::<Vec<_>>().join(", ");
            let lost = there.iter().filter(|name| !readers.contains(name));
            statements.extend(lost.map(|name| format!("revoke select on {views} from {}", as_role(name))));
            for name in &readers {
                if shut_out.grants {
                    statements.push(format!("grant usage on schema {schema}, {store} to {}", as_role(name)));
                }
                statements.push(format!("grant select on {views} to {}", as_role(name)));
            }
            let names = readers.iter().map(literal).collect::<Vec<_>>().join(", ");
            statements.push(format!(
                "update {} set readers = array[{names}]::text[] where source_id = {source_id}",
                self.table("source"),
            ));
        }
        Ok(statements)
    }
}
