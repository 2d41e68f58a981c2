# Measuring and reporting: wall-clock milliseconds, medians, and the conditions that every figure is read with.

# milliseconds COMMAND...: prints how long the command took; what it prints goes to "$work/measured".
milliseconds() {
  local began=${EPOCHREALTIME//[!0-9]/} ended
  "$@" >"$work/measured" 2>&1 </dev/null || { cat "$work/measured" >&2; die "this failed while measured: $*"; }
  ended=${EPOCHREALTIME//[!0-9]/}
  echo $(((ended - began) / 1000))
}

# median FILE: of the numbers in it, one a line.
median() {
  sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
extremes() { sort -n "$1" | awk 'NR == 1 { low = $1 } END { print low " to " $1 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

# What the machine is and how busy it was: figures without these mean nothing.
print_conditions() {
  echo "conditions:"
  echo "  $(nproc) cores, $(awk '/MemTotal/ { printf "%.0f GiB memory", $2 / 1048576 }' /proc/meminfo)," \
    "load $(cut -d ' ' -f 1-3 /proc/loadavg) when started, $(uname -sr)"
  echo "  PostgreSQL $(sql -At -d postgres -c 'show server_version'), $*"
}
