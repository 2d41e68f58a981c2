-- take_notices: what waits in the outbox, each for one taker.
with taken as (
    select outbox_id from pgupkeep.outbox where delivered_at is null order by outbox_id limit 100 for update skip locked
)
update pgupkeep.outbox o set delivered_at = clock_timestamp()
  from taken t where o.outbox_id = t.outbox_id
returning o.outbox_id, o.run_id, o.subject, o.body
