-- inspect_settings: what was set for our role or for this database, and reaches every session of ours.
-- Source: PostgreSQL documentation, "pg_db_role_setting"; the most particular place wins, and comes first here.
select case when s.setrole <> 0 and s.setdatabase <> 0 then 'role_in_database' when s.setrole <> 0 then 'role'
            when s.setdatabase <> 0 then 'database' else 'all_roles' end as place,
       split_part(c.setting, '=', 1) as name,
       substr(c.setting, strpos(c.setting, '=') + 1) as value
  from pg_db_role_setting s
 cross join unnest(s.setconfig) as c(setting)
 where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
   and s.setrole in (0, (select oid from pg_roles where rolname = session_user))
 order by name, s.setrole = 0, s.setdatabase = 0
