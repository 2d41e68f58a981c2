-- find_keeping_triggers: those of these tables ($1: their numbers) with a trigger that can keep a row from being deleted:
-- BEFORE, for each row, enabled. Source: src/include/catalog/pg_trigger.h, TRIGGER_TYPE_*.
select distinct t.tgrelid as oid
  from pg_catalog.pg_trigger t
 where t.tgrelid = any ($1) and not t.tgisinternal and t.tgenabled <> 'D'
   and t.tgtype & 1 <> 0 and t.tgtype & 2 <> 0 and t.tgtype & 8 <> 0
