#!/usr/bin/env bash
# Two hosts, as two network namespaces with a cable between them: a coordinator and a worker on one, a
# worker on the other, tp 2, mutual TLS, Gloo. The golden text must come out, and without certificates
# nobody may join.   two_hosts.sh PAMIR SOURCE_DIR
set -euo pipefail
pamir=$1 source=$2
[ "$(id -u)" -eq 0 ] && command -v ip >/dev/null && command -v openssl >/dev/null ||
  { echo "not run: needs root, iproute2 and openssl"; exit 77; }

name="pamir$$"
a="$name-a" b="$name-b"
work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  ip netns del "$a" 2>/dev/null || true
  ip netns del "$b" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
ip netns add "$a" 2>"$work/why" || { echo "not run: $(cat "$work/why")"; exit 77; }
ip netns add "$b"
ip link add "v$$a" netns "$a" type veth peer name "v$$b" netns "$b"
ip -n "$a" addr add 10.77.0.1/24 dev "v$$a"
ip -n "$b" addr add 10.77.0.2/24 dev "v$$b"
for side in a b; do
  ip -n "$name-$side" link set lo up
  ip -n "$name-$side" link set "v$$$side" up
done

# One authority, one certificate each.
cd "$work"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca \
  -keyout ca.key -out ca.pem 2>/dev/null
for side in coordinator worker; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$side" \
    -keyout $side.key -out $side.csr 2>/dev/null
  printf 'subjectAltName=IP:10.77.0.1,IP:10.77.0.2' >$side.ext
  openssl x509 -req -in $side.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -extfile $side.ext -out $side.pem 2>/dev/null
done
tls() { echo --tls-cert "$work/$1.pem" --tls-key "$work/$1.key" --tls-ca "$work/ca.pem"; }

in_a() { ip netns exec "$a" "$@"; }
in_b() { ip netns exec "$b" "$@"; }
# The same as a process of its own, in the background, whose id is the program's.
start() { # start HOST LOG COMMAND...
  local host=$1 log=$2
  shift 2
  (exec ip netns exec "$host" "$@") >"$log" 2>&1 &
  pids+=($!)
}
wait_for() { # wait_for SECONDS FILE TEXT
  for _ in $(seq $(($1 * 10))); do grep -q "$3" "$2" && return 0; sleep 0.1; done
  echo "'$3' did not come within $1 s in $2:"; cat "$2"; return 1
}

# Off loopback without certificates: refused, with the reason.
if in_a "$pamir" coordinator --model "$source/configs/models/fable-14m" -tp 2 \
  --worker-listen 10.77.0.1:50061 >"$work/plain.log" 2>&1; then
  echo "a coordinator without TLS listened off loopback"; exit 1
fi
grep -qi 'tls' "$work/plain.log" || { echo "no word of TLS:"; cat "$work/plain.log"; exit 1; }

start "$a" "$work/coordinator.log" "$pamir" coordinator --model "$source/configs/models/fable-14m" \
  -tp 2 --worker-listen 10.77.0.1:50061 $(tls coordinator)
wait_for 20 "$work/coordinator.log" "10.77.0.1:50061"

if in_b "$pamir" worker --coordinator 10.77.0.1:50061 --data-interface "v$$b" --join-timeout 3 \
  >"$work/plain.log" 2>&1; then
  echo "a worker without TLS joined"; exit 1
fi
grep -qi 'tls' "$work/plain.log" || { echo "no word of TLS:"; cat "$work/plain.log"; exit 1; }

start "$a" "$work/worker-a.log" "$pamir" worker --coordinator 10.77.0.1:50061 \
  --data-interface "v$$a" $(tls worker)
start "$b" "$work/worker-b.log" "$pamir" worker --coordinator 10.77.0.1:50061 \
  --data-interface "v$$b" $(tls worker)
wait_for 60 "$work/coordinator.log" "^gRPC  " || { cat "$work"/worker-*.log; exit 1; }

in_a "$pamir" generate --prompt "Once upon a time" --max-tokens 64 --temperature 0 --json \
  >"$work/answer.json" || { cat "$work"/*.log; exit 1; }
python3 - "$work/answer.json" "$source/tests/golden/golden.json" <<'PYTHON'
import json, sys
answer = json.load(open(sys.argv[1]))['choices'][0]
golden = json.load(open(sys.argv[2]))['fable-14m']['cases'][0]
assert answer['token_ids'] == golden['greedy_ids'], answer
assert answer['text'] == golden['greedy_text'], answer
for ours, (theirs, _) in zip(answer['logprobs'], golden['greedy_logprob_and_margin']):
    assert abs(ours - theirs) < 1e-3, (ours, theirs)
PYTHON
in_a "$pamir" status --json | grep -q '"ready":true'

kill "${pids[0]}" # drains; the workers follow
for pid in "${pids[@]}"; do
  wait "$pid" || { echo "a process ended with $?:"; cat "$work"/*.log; exit 1; }
done
pids=()
echo "two hosts: same tokens over mutual TLS and Gloo"
