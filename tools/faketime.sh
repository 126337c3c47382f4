#!/usr/bin/env bash
# tools/faketime.sh: sees to it that libfaketime is there, by which walks run the operator under a wrong clock. Debian's package
# is installed if it is missing.
set -euo pipefail

present() {
    compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null
}

present && exit
if ! command -v apt-get >/dev/null; then
    echo 'libfaketime is missing: install it, so that /usr/lib/ARCHITECTURE/faketime/libfaketime.so.1 is there' >&2
    exit 1
fi
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
echo 'libfaketime is missing: installs the package faketime'
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends faketime
present || { echo 'the package faketime did not bring libfaketime.so.1' >&2; exit 1; }
