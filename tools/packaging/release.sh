#!/usr/bin/env bash
# SOURCE_URL=https://… tools/packaging/release.sh: makes all that a release of this commit consists of, in dist/:
#   bullpen-VERSION.oci.tar, bullpen-simcloud-VERSION.oci.tar     the images, for amd64 and arm64
#   bullpen_VERSION_linux_ARCH.tar.gz                             the operator
#   bullpen-simcloud_VERSION_linux_ARCH.tar.gz                    the simulated cloud
#   kubectl-bullpen_VERSION_OS_ARCH.tar.gz                        the plugin
#   bullpen_VERSION_linux_ARCH.cdx.json                           bills of materials
#   crds.yaml, bullpen-VERSION.tgz (the chart), krew.yaml, SHA256SUMS
# IMAGES=REGISTRY/PATH is where the chart takes the images from, if they are going to be pushed: see tools/packaging/push.sh.
# The plugin for macOS is taken from target/darwin-{amd64,arm64}/kubectl-bullpen where those are: only a Mac can compile it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

SOURCE_URL=${SOURCE_URL:?set it to the address of the repository, whose releases the krew manifest names}
version=$(awk -F '"' '/^version = / { print $2; exit }' Cargo.toml)
if [ -n "${TAG-}" ] && [ "$TAG" != "v$version" ]; then
    echo "the tag is $TAG, but Cargo.toml has version $version: they must agree" >&2
    exit 1
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_URL SOURCE_DATE_EPOCH

dist=dist
rm -rf "$dist"
mkdir -p "$dist"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# archive NAME BINARY LICENCES: an archive of a program and the licences of what is in it.
archive() {
    local folder=$work/$1
    mkdir -p "$folder"
    install -m 755 "$2" "$folder/"
    cp -r "$3" "$folder/licenses"
    chmod -R u=rwX,go=rX "$folder"
    tar --create --directory "$folder" --format ustar --sort name --mtime "@$SOURCE_DATE_EPOCH" \
        --owner 0 --group 0 --numeric-owner . | gzip --no-name --best >"$dist/$1.tar.gz"
}

# krew: the manifest of the plugin, with each archive that there is.
krew() {
    local template=deploy/krew/bullpen.yaml file name os arch
    sed -e '1d; /# for each archive/,$d' -e "s|@VERSION@|$version|g; s|@SOURCE_URL@|$SOURCE_URL|g" "$template"
    for file in "$dist"/kubectl-bullpen_*.tar.gz; do
        name=$(basename "$file" .tar.gz)
        IFS=_ read -r _ _ os arch <<<"$name"
        sed -e '1,/# for each archive/d' -e "s|@URI@|$SOURCE_URL/releases/download/v$version/$name.tar.gz|" \
            -e "s|@SHA256@|$(sha256sum "$file" | cut -d ' ' -f 1)|; s|@OS@|$os|; s|@ARCH@|$arch|" "$template"
    done
}

tools/packaging/image.sh
for image in bullpen bullpen-simcloud; do
    cp "target/image/$image.oci.tar" "$dist/$image-$version.oci.tar"
done
mkdir "$work/plugin-licences"
plugin=(--no-default-features --features kubectl)
tools/packaging/licences.sh "$work/plugin-licences" "${plugin[@]}"
for arch in amd64 arm64; do
    for image in bullpen bullpen-simcloud; do
        root=target/image/root-$image-$arch
        archive "${image}_${version}_linux_$arch" "$root/$image" "$root/licenses"
    done
    cp "target/image/bullpen-$arch.cdx.json" "$dist/bullpen_${version}_linux_$arch.cdx.json"
    archive "kubectl-bullpen_${version}_linux_$arch" "$(tools/packaging/compile.sh "$arch" kubectl-bullpen "${plugin[@]}")" \
        "$work/plugin-licences"
    if [ -e "target/darwin-$arch/kubectl-bullpen" ]; then
        archive "kubectl-bullpen_${version}_darwin_$arch" "target/darwin-$arch/kubectl-bullpen" "$work/plugin-licences"
    fi
done
for definition in crds/*.yaml; do
    echo '---'
    cat "$definition"
done >"$dist/crds.yaml"
cp -r charts/bullpen "$work/chart"
sed -i "s|^\( *repository: \)localhost/|\1${IMAGES:-localhost}/|" "$work/chart/values.yaml"
"$(tools/packaging/tool.sh helm)" package "$work/chart" --version "$version" --app-version "$version" --destination "$dist"
krew >"$work/krew.yaml"
mv "$work/krew.yaml" "$dist/krew.yaml"
(cd "$dist" && sha256sum -- * >"$work/SHA256SUMS")
mv "$work/SHA256SUMS" "$dist/"
cat "$dist/SHA256SUMS"
