-- read_moment: now by the server's clock, and two instants before it: $1 months and $2 days, $3 months and $4 days.
-- Spans of the calendar are taken off in UTC, so that no session's zone has a say.
select to_char(m.at, 'YYYY-MM-DD HH24:MI:SS.US') || '+00' as now,
       floor(extract(epoch from m.at) * 1000)::bigint as now_ms,
       to_char(m.cutoff, 'YYYY-MM-DD HH24:MI:SS.US') || '+00' as cutoff,
       floor(extract(epoch from m.cutoff) * 1000000)::bigint as cutoff_us,
       to_char(m.stale, 'YYYY-MM-DD HH24:MI:SS.US') || '+00' as stale_cutoff
  from (select n.at, n.at - make_interval(months => $1, days => $2) as cutoff,
               n.at - make_interval(months => $3, days => $4) as stale
          from (select now() at time zone 'UTC' as at) n) m
