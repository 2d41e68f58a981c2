# Sourced by every script: strict mode, where the repository is, and how things are said.
# Nothing here installs or changes anything.

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Messages go to stderr, so that a script's own output can be piped.
say() { printf '%s\n' "== $*" >&2; }
warn() { printf '%s\n' "!! $*" >&2; }
die() { printf '%s\n' "error: $*" >&2; exit 1; }

is_root() { [ "$(id -u)" -eq 0 ]; }
have() { command -v "$1" >/dev/null 2>&1; }

# Names a suite that cannot run here, and why. The tests write the same lines to the same file;
# `print_skipped` shows each of them once at the end.
skipped_file() { printf '%s' "${PGUPKEEP_SKIPPED:-/dev/null}"; }
skip_suite() { printf 'SKIPPED SUITE %s: %s\n' "$1" "$2" >>"$(skipped_file)"; }
print_skipped() {
  if [ -s "$(skipped_file)" ]; then
    sort -u "$(skipped_file)"
  else
    echo "no suite was skipped"
  fi
}

# Runs a command once more if it fails: package registries time out now and then.
twice() { "$@" || { warn "failed once, trying again: $1 ${2:-} ${3:-}"; "$@"; }; }
