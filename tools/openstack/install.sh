#!/usr/bin/env bash
# tools/openstack/install.sh: prints the folder of a virtual environment with OpenStack's services, of the versions that
# are pinned here. What is not in the user's cache yet is installed there. mariadbd and rabbitmq-server come from the
# system; on Debian, root's call installs them, and starts neither as a service.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

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

"$here/../venvs.sh" openstack "$here"/*.txt
