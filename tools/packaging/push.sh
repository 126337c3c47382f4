#!/usr/bin/env bash
# tools/packaging/push.sh REGISTRY/PATH: pushes the images and the chart of dist/ there: PATH/bullpen, PATH/bullpen-simcloud and
# PATH/charts/bullpen. Credentials are those of `docker login`'s file. PLAIN_HTTP=1 for a registry without TLS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

to=${1:?usage: tools/packaging/push.sh REGISTRY/PATH}
version=$(awk -F '"' '/^version = / { print $2; exit }' Cargo.toml)
crane=$(tools/packaging/tool.sh crane)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
plain=()
[ -z "${PLAIN_HTTP-}" ] || plain=(--plain-http)

for image in bullpen bullpen-simcloud; do
    mkdir "$work/$image"
    tar --extract --file "dist/$image-$version.oci.tar" --directory "$work/$image"
    "$crane" push "$work/$image" "$to/$image:$version"
done
"$(tools/packaging/tool.sh helm)" push "dist/bullpen-$version.tgz" "oci://$to/charts" "${plain[@]}"
