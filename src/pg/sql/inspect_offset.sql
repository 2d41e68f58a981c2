-- inspect_offset: seconds that the clocks of the zone $2 are ahead of UTC at the instant $1, by the server's own data.
select extract(epoch from ($1::timestamptz at time zone $2::text) - ($1::timestamptz at time zone 'UTC'))::int as ahead
