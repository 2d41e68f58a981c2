-- reset_session: back to how the session began, but for its advisory locks and prepared statements.
rollback;
reset session authorization;
reset role;
reset all;
close all;
unlisten *;
discard temp
