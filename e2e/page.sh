#!/usr/bin/env bash
# The blocks of a page of docs/, word for word, against the built binary on the default
# ports, in a network namespace of its own. After a block its comments "want:" say what
# its output must have. What a block exports is there for the blocks after it.
#
# usage: e2e/page.sh PAGE BLOCKS WANTS   (from anywhere; needs what scripts/setup installs)
#   such as e2e/page.sh patterns.md 7 12: docs/patterns.md, with so many blocks and wants at least
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
page=$1
doc=$root/docs/$page
die() { echo "$page: $*" >&2; exit 1; }

if [ -z "${TWOFOLD_PAGE_INSIDE:-}" ]; then
	unshare -rn true || die "cannot make a network namespace (unshare -rn): user namespaces are switched off here"
	TWOFOLD_PAGE_INSIDE=1 exec unshare -rn "$0" "$@"
fi
ip link set lo up
work=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/bin"
if [ -n "${TWOFOLD_BIN:-}" ]; then cp "$TWOFOLD_BIN" "$work/bin/twofold"; else (cd "$root" && CGO_ENABLED=0 go build -o "$work/bin/twofold" ./cmd/twofold); fi
export PATH="$work/bin:$PATH" HOME="$work"
unset IOT_ENDPOINT IOT_PORT IOT_CA IOT_CERT IOT_KEY TWOFOLD_SERVER # of whoever runs this
cd "$work"
# The examples as after npm ci, whose packages are those of e2e/node.
cp -r "$root/examples" examples
for package in examples/*/backend/package.json; do ln -s "$root/e2e/node/node_modules" "${package%/*}/node_modules"; done
export NODE_NO_WARNINGS=1

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
: >exports
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
		cat exports block.sh >whole.sh
		bash -euo pipefail whole.sh >out 2>&1 </dev/null || { cat block.sh out >&2; die "block $blocks has failed"; }
		grep '^export ' block.sh >>exports || true
		;;
	want*)
		wants=$((wants + 1))
		grep -qF -- "${step#want }" out || { cat block.sh out >&2; die "block $blocks: want ${step#want } in the output above"; }
		;;
	esac
done <steps
[ "$blocks" -ge "$2" ] && [ "$wants" -ge "$3" ] || die "only $blocks blocks and $wants wants were found"
echo "$page: $blocks blocks, $wants outputs, passed"
