-- move_cursors: these instants have their rows now; a cursor never goes back.
update pgupkeep.schedule s
   set cursor_at = greatest(s.cursor_at, m.cursor_at), next_due_at = m.next_due_at
  from jsonb_to_recordset($1) as m (entry text, cursor_at timestamptz, next_due_at timestamptz)
 where s.entry = m.entry
