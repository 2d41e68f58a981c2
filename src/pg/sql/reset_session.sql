-- reset_session: back to how the session began, but for its advisory locks and prepared statements.
-- BEGIN first, so that ROLLBACK has something to end and the server logs no warning; in a transaction that has failed
-- already BEGIN is refused, and the caller sends ROLLBACK alone before it tries again.
begin;
rollback;
reset session authorization;
reset role;
reset all;
close all;
unlisten *;
discard temp
