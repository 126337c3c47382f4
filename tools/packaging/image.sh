#!/usr/bin/env bash
# tools/packaging/image.sh [ARCH...]: makes target/image/bullpen.oci.tar and bullpen-simcloud.oci.tar, each an index of one image
# for each architecture (amd64 and arm64, unless some are named), without a container engine.
# tools/packaging/image.sh --root ARCH: makes only the images' files, in target/image/root-bullpen-ARCH and so on.
# Two builds of one commit have the same digest. What is in the image besides the source:
#   SOURCE_URL          where the source is, for a label; none if unset
#   REVISION            the commit; that of the checkout if unset
#   SOURCE_DATE_EPOCH   the time of all files, in seconds; that of the commit if unset
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

out=target/image
# As in a distroless image: nobody in particular, but not root.
user=65532:65532

version() {
    awk -F '"' '/^version = / { print $2; exit }' Cargo.toml
}

revision() {
    local revision
    git rev-parse HEAD >/dev/null 2>&1 ||
        { echo 'this is no clone of the repository: set REVISION and SOURCE_DATE_EPOCH (see the top of this script)' >&2; return 1; }
    revision=$(git rev-parse HEAD)
    [ -z "$(git status --porcelain)" ] || revision+=-dirty
    echo "$revision"
}

# The program of each image, by the image's name. Both are compiled at once, with the same features.
images=(bullpen bullpen-simcloud)
features=(--no-default-features --features 'simcloud,aws,openstack')

# roots ARCH: the files of the images.
roots() {
    local arch=$1 binary name root
    binary=$(tools/packaging/compile.sh "$arch" bullpen --bin bullpen-simcloud "${features[@]}")
    tools/packaging/sbom.sh "$arch" "${features[@]}" >"$out/bullpen-$arch.cdx.json"
    for name in "${images[@]}"; do
        root=$out/root-$name-$arch
        rm -rf "$root"
        install -d -m 755 "$root/etc/ssl/certs" "$root/sbom" "$root/licenses"
        install -m 555 "$(dirname "$binary")/$name" "$root/$name"
        install -m 444 "$(tools/packaging/tool.sh ca-certificates)" "$root/etc/ssl/certs/ca-certificates.crt"
        cp "$out/bullpen-$arch.cdx.json" "$root/sbom/bullpen.cdx.json"
        tools/packaging/licences.sh "$root/licenses" "${features[@]}"
        find "$root" -type d -exec chmod 755 {} +
        find "$root" -type f ! -path "$root/$name" -exec chmod 444 {} +
    done
}

# layer NAME-ARCH: the same bytes for the same files.
layer() {
    tar --create --directory "$out/root-$1" --format ustar --sort name --mtime "@$SOURCE_DATE_EPOCH" \
        --owner 0 --group 0 --numeric-owner . | gzip --no-name --best >"$out/layer-$1.tar.gz"
}

# Quiet, unless it fails.
crane() {
    "$crane_path" "$@" 2>"$work/crane.log" || { cat "$work/crane.log" >&2; return 1; }
}

# Crane puts images together in a registry: one of its own, on loopback.
serve() {
    local tries=0
    mkdir -p "$work/registry"
    "$crane_path" registry serve --address 127.0.0.1:0 --disk "$work/registry" 2>"$work/registry.log" &
    server=$!
    until registry=127.0.0.1:$(sed -n 's/.*serving on port \([0-9]*\).*/\1/p' "$work/registry.log") &&
        [ "$registry" != 127.0.0.1: ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 200 ] || ! kill -0 "$server"; then
            cat "$work/registry.log" >&2
            exit 1
        fi
        sleep 0.05
    done
}

# image NAME TITLE ARCH...: the index of an image, as an OCI tarball.
image() {
    local name=$1 title=$2 arch tag labels members=()
    shift 2
    labels=(
        --label "org.opencontainers.image.title=$name"
        --label "org.opencontainers.image.description=$title"
        --label "org.opencontainers.image.version=$version"
        --label "org.opencontainers.image.revision=$REVISION"
        --label "org.opencontainers.image.licenses=Apache-2.0"
        --label "org.opencontainers.image.created=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
    )
    [ -z "${SOURCE_URL-}" ] || labels+=(--label "org.opencontainers.image.source=$SOURCE_URL")
    for arch in "$@"; do
        tag=$registry/$name:$arch
        crane append --oci-empty-base --new_layer "$out/layer-$name-$arch.tar.gz" --new_tag "$tag" >/dev/null
        crane mutate "$tag" --tag "$tag" --set-platform "linux/$arch" --user "$user" --entrypoint "/$name" \
            --workdir / "${labels[@]}" >/dev/null
        members+=(--manifest "$tag")
    done
    crane index append "${members[@]}" --tag "$registry/$name:$version" >/dev/null
    crane pull --format oci "$registry/$name:$version" "$work/$name"
    tar --create --directory "$work/$name" --format ustar --sort name --mtime "@$SOURCE_DATE_EPOCH" --mode u=rwX,go=rX \
        --owner 0 --group 0 --numeric-owner . >"$out/$name.oci.tar"
    crane digest "$registry/$name:$version" >"$out/$name.digest"
}

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
mkdir -p "$out"

if [ "${1-}" = --root ]; then
    roots "$2"
    exit
fi

architectures=("$@")
[ $# -gt 0 ] || architectures=(amd64 arm64)
for arch in "${architectures[@]}"; do
    roots "$arch"
    for name in "${images[@]}"; do
        layer "$name-$arch"
    done
done

version=$(version)
REVISION=${REVISION:-$(revision)}
crane_path=$(tools/packaging/tool.sh crane)
work=$(mktemp -d)
trap 'kill "${server-}" 2>/dev/null; rm -rf "$work"' EXIT
serve
image bullpen 'Keeps pools of pre-warmed cloud VMs and hands them out by claim' "${architectures[@]}"
image bullpen-simcloud 'A simulated cloud to try Bullpen with' "${architectures[@]}"

for name in "${images[@]}"; do
    echo "$out/$name.oci.tar: $(cat "$out/$name.digest")"
done
for arch in "${architectures[@]}"; do
    for name in "${images[@]}"; do
        echo "$name for $arch: binary $(stat --format %s "$out/root-$name-$arch/$name") bytes, compressed layer" \
            "$(stat --format %s "$out/layer-$name-$arch.tar.gz") bytes"
    done
done
