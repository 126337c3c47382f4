#!/usr/bin/env bash
# tools/venvs.sh NAME FILE...: prints a folder with a virtual environment for each FILE of pinned requirements, called as the file without its
# ending. It is in the user's cache, and installed there if it is not yet.
set -euo pipefail
name=$1
shift
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
folder=${XDG_CACHE_HOME:-$HOME/.cache}/bullpen/tools/$name-$(cat "$@" | sha256sum | cut -c 1-12)-python$version

if [ ! -d "$folder" ]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        { echo 'python3-venv is missing: install it (apt-get install python3-venv)' >&2; exit 1; }
    mkdir -p "$(dirname "$folder")"
    work=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    for file in "$@"; do
        environment=$work/$(basename "$file" .txt)
        echo "installing $(basename "$file" .txt), once" >&2
        "$python" -m venv "$environment" >&2
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$file" >&2
    done
    # Only what runs as `python -m` or `python FILE` is used, and that works under any path. Of two that install at once,
    # the first wins.
    mv -T "$work" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
echo "$folder"
