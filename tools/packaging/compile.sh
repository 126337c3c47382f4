#!/usr/bin/env bash
# tools/packaging/compile.sh ARCH BINARY [CARGO_ARGUMENT...]: compiles a static Linux binary of this package for amd64 or arm64,
# with Zig as the C compiler and linker, and prints its path. Equal sources and tools give equal bytes, wherever they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

arch=$1 binary=$2
shift 2
case $arch in
amd64) target=x86_64-unknown-linux-musl ;;
arm64) target=aarch64-unknown-linux-musl ;;
*) echo "ARCH is amd64 or arm64, not '$arch'" >&2; exit 2 ;;
esac

zigbuild=$(tools/packaging/tool.sh cargo-zigbuild)
zig=$(tools/packaging/tool.sh zig)
sysroot=$(rustc --print sysroot)
if [ ! -d "$sysroot/lib/rustlib/$target" ]; then
    rustup target add "$target" >&2
fi
cargo=${CARGO:-cargo}
"$cargo" fetch --quiet --locked --target "$target" >&2

# Panic messages name source files: as they would be called on any machine.
flags=--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rust
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    flags+=$'\x1f'--remap-path-prefix=${registry%/}=/crates
done
# Generated code is there; cargo gives the compiler relative paths of this package's own.
output=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
flags+=$'\x1f'--remap-path-prefix=$output=/target

# With the commit's time in SOURCE_DATE_EPOCH, all that is beside C code would be compiled anew for each commit.
CARGO_TARGET_DIR=$output CARGO_INCREMENTAL=0 CARGO_ENCODED_RUSTFLAGS=$flags CARGO_ZIGBUILD_ZIG_PATH=$zig \
    SOURCE_DATE_EPOCH=0 PATH=$(dirname "$zigbuild"):$PATH "$cargo" zigbuild --release --locked --target "$target" --bin "$binary" "$@" >&2
echo "$output/$target/release/$binary"
