#!/usr/bin/env bash
# tools/ec2/install.sh: prints the folder with `moto` and `microburst`, a virtual environment each, of the versions that are pinned
# here. What is not in the user's cache yet is installed there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
folder=${XDG_CACHE_HOME:-$HOME/.cache}/bullpen/tools/ec2-$(cat "$here"/*.txt | sha256sum | cut -c 1-12)-python$version

if [ ! -d "$folder" ]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        { echo 'python3-venv is missing: install it (apt-get install python3-venv)' >&2; exit 1; }
    echo "installing moto and microburst, once" >&2
    mkdir -p "$(dirname "$folder")"
    work=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    for name in moto microburst; do
        "$python" -m venv "$work/$name" >&2
        "$work/$name/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$here/$name.txt" >&2
    done
    # Only what runs as `python -m` is used, and that works under any path. Of two that install at once, the first wins.
    mv -T "$work" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
echo "$folder"
