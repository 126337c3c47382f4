#!/usr/bin/env bash
# tools/openstack/install.sh: prints the folder of a virtual environment with OpenStack's services, of the versions that
# are pinned here. What is not in the user's cache yet is installed there. mariadbd and rabbitmq-server come from the
# system; on Debian, root's call installs them, and starts neither as a service.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
folder=${XDG_CACHE_HOME:-$HOME/.cache}/bullpen/tools/openstack-$(cat "$here"/*.txt | sha256sum | cut -c 1-12)-python$version

if ! [ -x /usr/sbin/mariadbd ] || ! [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo 'mariadbd or rabbitmq-server is missing: install them (apt-get install mariadb-server rabbitmq-server)' >&2
        exit 1
    fi
    echo 'installing mariadb-server and rabbitmq-server, once' >&2
    # Packages start no service while this file is there and says 101 (invoke-rc.d).
    policy=/usr/sbin/policy-rc.d
    if ! [ -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    { apt-get update && DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends mariadb-server rabbitmq-server; } >/dev/null
fi

if [ ! -d "$folder" ]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        { echo 'python3-venv is missing: install it (apt-get install python3-venv)' >&2; exit 1; }
    echo 'installing OpenStack, once' >&2
    mkdir -p "$(dirname "$folder")"
    work=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    "$python" -m venv "$work/venv" >&2
    "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --requirement "$here/requirements.txt" >&2
    # Of two that install at once, the first wins. Programs are started as `python FILE`, so their first lines, which
    # name the old path, do not matter.
    mv -T "$work" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
echo "$folder"
