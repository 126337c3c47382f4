#!/usr/bin/env bash
# tools/openstack/start.sh: starts the OpenStack for tests, installing it first if need be, and says `ready` with a JSON
# object of its addresses. It ends when its standard input closes. What is made once is kept in the user's cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$("$here/install.sh")
made=${XDG_CACHE_HOME:-$HOME/.cache}/bullpen/tools/openstack-state-$(cat "$here"/*.txt "$here"/*.py | sha256sum | cut -c 1-12)
# Short, because the database's socket is in it.
work=$(mktemp -d /tmp/bullpen-openstack.XXXXXX)
export PYTHONDONTWRITEBYTECODE=1
exec "$folder/openstack/bin/python" "$here/cloud.py" "$folder/openstack" "$work" "$made"
