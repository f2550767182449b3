#!/usr/bin/env bash
# The block at the top of README.md, word for word, with Debian's clients: the
# default ports, the default data folder, kill -9, restart. It runs in a network
# namespace of its own, so that the default ports are free.
#
# usage: e2e/quickstart.sh   (from anywhere; needs mosquitto-clients, awscli, iproute2)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

# The lines a user types. Each must be in README.md as it is here.
SERVE='go run ./cmd/twofold serve'
REPORT=$(cat <<'LINE'
mosquitto_pub -t '$aws/things/lamp-1/shadow/update' -q 1 -m '{"state":{"reported":{"on":true,"level":40}}}'
LINE
)
DESIRE=$(cat <<'LINE'
aws iot-data update-thing-shadow --endpoint-url http://127.0.0.1:8080 --region us-east-1 --no-sign-request --thing-name lamp-1 \
    --cli-binary-format raw-in-base64-out --payload '{"state":{"desired":{"level":80}}}' out.json
LINE
)
GET='twofold get lamp-1'

die() { echo "quickstart: $*" >&2; exit 1; }

if [ -z "${TWOFOLD_QUICKSTART_INSIDE:-}" ]; then
	for line in "$SERVE" "$REPORT" "$GET" 'kill -9'; do
		grep -qF -- "$line" "$root/README.md" || die "README.md does not have the line: $line"
	done
	while IFS= read -r line; do # the aws command goes over two lines
		grep -qF -- "$line" "$root/README.md" || die "README.md does not have the line: $line"
	done <<<"$DESIRE"
	unshare -rn true || die "cannot make a network namespace (unshare -rn): user namespaces are switched off here"
	TWOFOLD_QUICKSTART_INSIDE=1 exec unshare -rn "$0"
fi
ip link set lo up

work=$(mktemp -d)
server=""
pids=()
cleanup() {
	for pid in $server "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
	rm -rf "$work"
}
trap cleanup EXIT

# The clients are Debian's, whatever else is on the PATH; twofold is this checkout's.
mkdir "$work/bin"
for tool in aws mosquitto_pub mosquitto_sub; do ln -s "/usr/bin/$tool" "$work/bin/$tool"; done
CGO_ENABLED=0 go build -o "$work/bin/twofold" "$root/cmd/twofold"
export GOCACHE GOMODCACHE
GOCACHE=$(go env GOCACHE) GOMODCACHE=$(go env GOMODCACHE)
export PATH="$work/bin:$PATH" HOME="$work" AWS_EC2_METADATA_DISABLED=true GOPROXY=off

# A checkout of its own, so that ./twofold-data is that of this test alone.
mkdir "$work/checkout"
tar -C "$root" --exclude=./bin --exclude=./.git --exclude=./.cache --exclude=./twofold-data --exclude=node_modules -cf - . |
	tar -C "$work/checkout" -xf -
cd "$work/checkout"

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { cat "$work"/*.log >&2; die "$what: not within the time"; }
		sleep 0.05
	done
}
ready() { curl -fsS http://127.0.0.1:8080/readyz; }

# serve COMMAND: starts it and finds the process that is the server.
serve() {
	bash -c "exec $1" >>"$work/serve.log" 2>&1 &
	server=$!
	disown # its end is expected
	pids+=("$server")
	wait_for 120 "$1" ready
	local child
	child=$(pgrep -P "$server" || true) # of go run
	if [ -n "$child" ]; then
		server=$child
		pids+=("$child")
	fi
	[ "$(basename "$(readlink "/proc/$server/exe")")" = twofold ] || die "process $server is not the server"
}

# run WHAT COMMAND: a line as a user types it.
run() {
	echo "\$ $2"
	local code=0
	eval "$2" >"$work/$1.log" 2>&1 || code=$?
	[ "$code" = 0 ] || { cat "$work/$1.log" >&2; die "$1 ended with code $code"; }
}

# has FILE TEXT: the file has the text.
has() { grep -qF -- "$2" "$1"; }
want() { has "$1" "$2" || { cat "$1" >&2; die "want $2 in the output above"; }; }

version() { curl -fsS http://127.0.0.1:8080/things/lamp-1/shadow | sed -n 's/.*"version":\([0-9]*\),"timestamp".*/\1/p'; }

echo "\$ $SERVE"
serve "$SERVE"
[ -d twofold-data ] || die "no ./twofold-data"

# The devices: persistent sessions, as firmware has them, of MQTT 3.1.1 and 5.
topic='$aws/things/lamp-1/shadow/update/delta'
v3=(-i lamp-1 -c -V mqttv311)
v5=(-i lamp-1-v5 -c -V mqttv5 -x 3600)
devices=()
wake() {
	mosquitto_sub "${v3[@]}" -q 1 -t "$topic" >>"$work/v3.log" 2>&1 &
	devices=($!)
	mosquitto_sub "${v5[@]}" -q 1 -t "$topic" >>"$work/v5.log" 2>&1 &
	devices+=($!)
	pids+=("${devices[@]}")
}
sleep_devices() { kill "${devices[@]}" 2>/dev/null || true; }
both_have() { has "$work/v3.log" "$1" && has "$work/v5.log" "$1"; }
for session in v3 v5; do
	declare -n flags=$session
	mosquitto_sub "${flags[@]}" -q 1 -t "$topic" -E || die "subscribe $session"
done
wake

run report "$REPORT"
run desire "$DESIRE"
want out.json '"version":2'
wait_for 10 "delta at the devices" both_have '"state":{"level":80}'
run get "$GET"
cat "$work/get.log"
for text in PATH REPORTED DESIRED AGE DRIFT level 40 80 on true; do want "$work/get.log" "$text"; done
run json "$GET -o json"
[ "$(version)" = 2 ] || die "version $(version), want 2"

echo "\$ kill -9 $server ; twofold serve"
kill -9 "$server"
wait_for 10 "the end of the server" bash -c "! kill -0 $server"
sleep_devices # they lost their connections; whether they try again is their own affair
serve "twofold serve"
[ "$(version)" = 2 ] || die "version $(version) after kill -9, want 2"

# What is asked while the devices sleep waits in their sessions; versions go on.
run desire-again "${DESIRE/'"level":80'/'"level":90'}"
want out.json '"version":3'
wake
wait_for 10 "queued delta" both_have '"state":{"level":90}'
run report-again "${REPORT/'"level":40'/'"level":90'} -V mqttv5"
[ "$(version)" = 4 ] || die "version $(version), want 4"
for i in $(seq 5 25); do
	mosquitto_pub -V mqttv5 -q 1 -t '$aws/things/lamp-1/shadow/update' -m "{\"state\":{\"reported\":{\"n\":$i}}}"
done
kill -9 "$server"
wait_for 10 "the end of the server" bash -c "! kill -0 $server"
sleep_devices
serve "twofold serve"
[ "$(version)" = 25 ] || die "version $(version) after the second kill -9, want 25"
run get-after "$GET"

# The other operations of Debian's awscli.
aws_iot() { aws iot-data "$1" --endpoint-url http://127.0.0.1:8080 --region us-east-1 --no-sign-request "${@:2}"; }
aws_iot get-thing-shadow --thing-name lamp-1 got.json
want got.json '"version":25'
aws_iot update-thing-shadow --thing-name lamp-1 --shadow-name night --cli-binary-format raw-in-base64-out --payload '{"state":{"desired":{"dim":true}}}' out.json
want out.json '"version":1'
aws_iot list-named-shadows-for-thing --thing-name lamp-1 --output text --query results >names.txt
want names.txt night
mosquitto_pub -r -q 1 -t notes/lamp-1 -m 'by the door'
aws_iot get-retained-message --topic notes/lamp-1 --output text --query payload | base64 -d >note.txt
want note.txt 'by the door'
aws_iot list-retained-messages --output text --query 'retainedTopics[].topic' >retained.txt
want retained.txt notes/lamp-1
aws_iot publish --topic notes/lamp-1 --qos 1 --cli-binary-format raw-in-base64-out --payload 'at the window'
aws_iot delete-thing-shadow --thing-name lamp-1 deleted.json
want deleted.json '"version":25'
if aws_iot get-thing-shadow --thing-name lamp-1 got.json >error.txt 2>&1; then die "a deleted shadow was returned"; fi
want error.txt "(ResourceNotFoundException) when calling the GetThingShadow operation: No shadow exists with name: 'lamp-1'"

kill -TERM "$server"
wait_for 12 "graceful stop" bash -c "! kill -0 $server"
echo "quickstart: passed"
