#!/usr/bin/env bash
# compute-sanitizer's tools over the --tiny checks of every GPU test program; needs a GPU.
# usage: sanitize.sh [FOLDER [TOOL...]]   FOLDER: of the programs gpu_*, default build/gpu/bin
# Prints a line for each tool and program with the number of its reports, and what was reported;
# exit status 1 if there is a report, a failed check or a tool that did not end.
# gpu_planted has a bug for each tool, which it must report.
set -u
bin=${1:-$(dirname "$0")/../../build/gpu/bin}
shift || true
[ $# -gt 0 ] && tools=("$@") || tools=(memcheck racecheck initcheck synccheck)
limit=${SANITIZE_SECONDS:-120}  # for a tool and program
jobs=${SANITIZE_JOBS:-4}
found=99  # the tools' exit status where they report something

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
[ -n "$sanitizer" ] || { echo "sanitize: no compute-sanitizer; it comes with the CUDA toolkit"; exit 1; }
programs=("$bin"/gpu_*)
[ -x "${programs[0]}" ] || { echo "sanitize: no programs gpu_* in $bin"; exit 1; }
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# racecheck follows a stage's hand-over through an mbarrier for the lane that arrives only, not for
# the rest of its warp, whose accesses __syncwarp() has put before that. So it reports the refill of
# a stage by bulk copies against the other lanes' reads (and own keys) in the decode kernel. With an
# arrival of every lane it reported nothing there. What has any other name in it counts.
# (gpu_prefill_forms_128 has the decode kernel as its reference.)
known_handovers() {  # LOG: there are reports, and all are of this kind: a bulk copy with such accesses
  awk '/Race reported between/ { reports++; if (!/Write access at [^(]*BulkCopy\(/) bad = 1 }
       / and (Read|Write) access/ && !/LoadMatrices(Transposed)?\(|PutKey<|PutValue</ { bad = 1 }
       END { exit reports == 0 || bad }' "$1"
}

one() {  # TOOL PROGRAM: one line; the status says whether it is clean
  local tool=$1 program=$2 log="$logs/$1.$(basename "$2")" begin=$SECONDS status reports verdict
  timeout "$limit" "$sanitizer" --tool "$tool" --error-exitcode $found --print-limit 1000 \
    "$program" --tiny > "$log" 2>&1
  status=$?
  reports=$(sed -nE 's/.*(ERROR|RACECHECK) SUMMARY: ([0-9]+) .*/\2/p' "$log" | tail -1)
  case "$status ${reports:-none} $(basename "$program")" in
    "$found "*" gpu_planted") verdict=clean reports="$reports planted" ;;
    *" gpu_planted") verdict="MISSED what was planted" ;;
    "0 0 "*) verdict=clean ;;
    "0 none "*) verdict="NO SUMMARY" ;;
    124*) verdict="DID NOT END within $limit s" ;;
    "$found "*" gpu_attention_decode" | "$found "*" gpu_prefill_forms_128")
      verdict=REPORTS
      [ "$tool" = racecheck ] && known_handovers "$log" && verdict=clean reports="$reports known" ;;
    0* | $found*) verdict=REPORTS ;;
    *) verdict="the program FAILED ($status)" ;;
  esac
  local line
  line=$(printf '%-10s %-14s %9s reports, %3d s: %s' "$tool" "$(basename "$program")" \
    "${reports:-no}" $((SECONDS - begin)) "$verdict")
  [ "$verdict" = clean ] && echo "$line" && return 0
  # In one piece, whoever else prints: what was reported or failed, and the end.
  echo "$line"$'\n'"$(grep -iE '=====|fail|error' "$log" | grep -v 'Host Frame' | head -30)"$'\n'"$(tail -5 "$log")"
  return 1
}

running=0 bad=0
for program in "${programs[@]}"; do
  for tool in "${tools[@]}"; do
    if [ $running -ge "$jobs" ]; then wait -n || bad=1; running=$((running - 1)); fi
    one "$tool" "$program" &
    running=$((running + 1))
  done
done
while [ $running -gt 0 ]; do wait -n || bad=1; running=$((running - 1)); done
exit $bad
