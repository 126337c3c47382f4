#!/bin/sh
# An agent for a warm machine: it tells Bullpen when the machine is ready, waits until a claim gets the machine, runs the
# claim's job, and says that the job is done. Needs a POSIX shell, curl, sed and base64.
#
# The URLs are in /run/bullpen/env on every machine of a pool with readiness.phoneHome. BULLPEN_JOB is the command that
# does the job; it finds the assignment as JSON in $BULLPEN_ASSIGNMENT and each key of the claim's input Secret as a
# file in $BULLPEN_INPUT. When the claim ends first, the job gets a TERM.
set -eu
# shellcheck source=/dev/null
. "${BULLPEN_ENV:-/run/bullpen/env}"
work=$(mktemp -d)
trap 'rm -rf "$work" || :' EXIT
trap 'exit 143' TERM INT

# call METHOD URL [FILE]: prints the status code, 000 without an answer; the body goes to $work/body.
call() {
    set -- "$1" "$2" "${3:-/dev/null}"
    code=$(curl -sS -m 60 -o "$work/body" -w '%{http_code}' -X "$1" --data-binary @"$3" "$2") || code=000
    echo "$code"
}

# until_told METHOD URL [FILE]: calls again and again until the answer is final, or the agent has ended.
until_told() {
    while [ -d "$work" ]; do
        code=$(call "$@")
        case $code in
        2?? | 404 | 409 | 410) echo "$code" && return ;;
        *) sleep "${BULLPEN_RETRY_SECONDS:-5}" ;;
        esac
    done
}

# field NAME: the first string field of this name in the assignment.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$BULLPEN_ASSIGNMENT"; }

until_told POST "$BULLPEN_READY_URL" >/dev/null
while code=$(until_told GET "$BULLPEN_ASSIGNMENT_URL") && [ "$code" = 204 ]; do :; done
[ "$code" = 200 ] || { echo "no assignment: $code $(cat "$work/body")" >&2 && exit 0; }

export BULLPEN_ASSIGNMENT="$work/assignment" BULLPEN_INPUT="$work/input"
(umask 077 && mkdir "$BULLPEN_INPUT" && mv "$work/body" "$BULLPEN_ASSIGNMENT")
{ sed -n 's/.*"input":{\([^}]*\)}.*/\1/p' "$BULLPEN_ASSIGNMENT" && echo; } | tr ',' '\n' | sed -n 's/^"\([^"]*\)":"\([^"]*\)"$/\1 \2/p' |
    while read -r key value; do printf %s "$value" | base64 -d >"$BULLPEN_INPUT/$key"; done
claim=$(field uid)

sh -c "$BULLPEN_JOB" &
job=$!
( # Watches for the end of the claim meanwhile.
    while code=$(until_told GET "$BULLPEN_ASSIGNMENT_URL?claim=$claim") && [ "$code" = 204 ]; do :; done
    echo "the claim is over: $(cat "$work/body")" >&2
    kill -TERM "$job" 2>/dev/null
) &
watcher=$!
result=0
wait "$job" || result=$?
kill "$watcher" 2>/dev/null || :
echo "exit $result" >"$work/result"
until_told POST "$BULLPEN_DONE_URL" "$work/result" >/dev/null
