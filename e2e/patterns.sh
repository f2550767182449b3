#!/usr/bin/env bash
# The blocks of docs/patterns.md, word for word, against the built binary on the default
# ports, in a network namespace of its own. After a block its comments "want:" say what
# its output must have.
#
# usage: e2e/patterns.sh   (from anywhere; needs mosquitto-clients, curl, iproute2)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
doc=$root/docs/patterns.md
die() { echo "patterns: $*" >&2; exit 1; }

if [ -z "${TWOFOLD_PATTERNS_INSIDE:-}" ]; then
	unshare -rn true || die "cannot make a network namespace (unshare -rn): user namespaces are switched off here"
	TWOFOLD_PATTERNS_INSIDE=1 exec unshare -rn "$0"
fi
ip link set lo up
work=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/bin"
if [ -n "${TWOFOLD_BIN:-}" ]; then cp "$TWOFOLD_BIN" "$work/bin/twofold"; else (cd "$root" && CGO_ENABLED=0 go build -o "$work/bin/twofold" ./cmd/twofold); fi
export PATH="$work/bin:$PATH" HOME="$work"
cd "$work"

twofold serve >serve.log 2>&1 &
server=$!
for _ in $(seq 200); do
	curl -fsS http://127.0.0.1:8080/readyz >/dev/null 2>&1 && break
	kill -0 "$server" 2>/dev/null || { cat serve.log >&2; die "the server has ended"; }
	sleep 0.05
done

# The document as lines "block", "offline", "want TEXT" and "| COMMAND".
awk '/^```sh offline$/ {print "offline"; print "block"; inside=1; next}
     /^```sh$/ {print "block"; inside=1; next}
     /^```$/ && inside {inside=0; print "run"; next}
     inside {print "| " $0; next}
     /^<!-- want: .* -->$/ {sub(/^<!-- want: /, ""); sub(/ -->$/, ""); print "want " $0}' "$doc" >steps

blocks=0 wants=0
while IFS= read -r step; do
	case $step in
	offline)
		kill -TERM "$server"
		wait "$server" || die "the server did not stop in order"
		server=""
		;;
	block) : >block.sh ;;
	"| "*) printf '%s\n' "${step#| }" >>block.sh ;;
	run)
		blocks=$((blocks + 1))
		bash -euo pipefail block.sh >out 2>&1 </dev/null || { cat block.sh out >&2; die "block $blocks has failed"; }
		;;
	want*)
		wants=$((wants + 1))
		grep -qF -- "${step#want }" out || { cat block.sh out >&2; die "block $blocks: want ${step#want } in the output above"; }
		;;
	esac
done <steps
[ "$blocks" -ge 7 ] && [ "$wants" -ge 12 ] || die "only $blocks blocks and $wants wants were found in $doc"
echo "patterns: $blocks blocks, $wants outputs, passed"
