#!/usr/bin/env bash
# tools/ec2/install.sh: prints the folder with `moto` and `microburst`, a virtual environment each, of the versions that are pinned
# here. What is not in the user's cache yet is installed there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/../venvs.sh" ec2 "$here"/*.txt
