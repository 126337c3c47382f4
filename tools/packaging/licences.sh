#!/usr/bin/env bash
# tools/packaging/licences.sh FOLDER FEATURE_OPTION...: writes Bullpen's licence there, and those of all that is
# compiled into it with these features or shipped with it.
set -euo pipefail
folder=$(cd "$1" && pwd)
shift
features=("$@")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The licences of crates: it takes minutes to find them, so they are kept until there are other crates.
crates() {
    local about kept work
    about=$(tools/packaging/tool.sh cargo-about)
    kept=${XDG_CACHE_HOME:-$HOME/.cache}/bullpen/licences/$(
        { echo "${features[*]} $about" && cat Cargo.toml crates/*/Cargo.toml Cargo.lock tools/packaging/about.toml tools/packaging/about.hbs; } |
            sha256sum | cut -c 1-12
    ).txt
    if [ ! -e "$kept" ]; then
        mkdir -p "$(dirname "$kept")"
        work=$(mktemp "$kept.XXXXXX")
        "$about" about generate --frozen "${features[@]}" --fail --config tools/packaging/about.toml --output-file "$work" \
            tools/packaging/about.hbs >&2 || { rm -f "$work"; return 1; }
        # mktemp made it for its owner alone; a cache that is saved by another user holds it, too.
        chmod 644 "$work"
        mv "$work" "$kept"
    fi
    install -m 444 "$kept" "$folder/THIRD-PARTY-CRATES.txt"
}

install -m 444 LICENSE "$folder/LICENSE"
crates
# The standard library of Rust, and what it is made of.
install -m 444 "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" "$folder/RUST-STANDARD-LIBRARY.html"
zig=$(tools/packaging/tool.sh zig)
install -m 444 "$(dirname "$zig")/lib/libc/musl/COPYRIGHT" "$folder/MUSL.txt"
# The list of certificate authorities is under the Mozilla Public License.
certifi=$(dirname "$(tools/packaging/tool.sh ca-certificates)")
install -m 444 "$certifi"-[0-9]*.dist-info/licenses/LICENSE "$folder/CA-CERTIFICATES.txt"
