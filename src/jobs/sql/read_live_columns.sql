-- read_live_columns: the columns of a table ($1: its quoted name) that archived rows go back to. $2 are the archived columns,
-- $3 their types then. A value goes back unchanged only to its own type, or from number to number and text to text, which
-- the comparison afterwards proves; a time of day means another instant in another type. $4: what is kept as text goes to
-- any type that reads that text and gives it back, since a type of the user's may have been renamed or replaced.
select w.name, pg_catalog.format_type(a.atttypid, a.atttypmod) as declared,
       pg_catalog.format_type(a.atttypid, a.atttypmod) = w.declared
       or coalesce(t.typcategory in ('N', 'S') and t.typcategory = o.typcategory, false)
       or w.as_text and t.typcategory not in ('B', 'D', 'N', 'T') as fits,
       a.attidentity <> '' as identity, a.attgenerated <> '' as generated, c.relkind::text as kind
  from unnest($2::text[], $3::text[], $4::bool[]) as w (name, declared, as_text)
  join pg_catalog.pg_class c on c.oid = pg_catalog.to_regclass($1)
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = w.name and a.attnum > 0 and not a.attisdropped
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_type o on o.oid = pg_catalog.to_regtype(w.declared)
