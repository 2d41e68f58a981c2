-- read_cursors: up to where each schedule entry has been turned into runs.
select entry, definition, cursor_at, next_due_at, retired_at from pgupkeep.schedule order by entry
