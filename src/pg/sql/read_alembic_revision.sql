-- read_alembic_revision: the revision of MLflow's schema, from whichever schema the role's own search path leads to.
select pg_catalog.string_agg(version_num, ', ' order by version_num) from alembic_version
