#!/usr/bin/env bash
# tools/packaging/sbom.sh ARCH FEATURE_OPTION...: prints the CycloneDX bill of materials of the image's files for amd64 or arm64, the same for the
# same Cargo.lock and SOURCE_DATE_EPOCH: without a serial number, and without the folder that it was made in.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

arch=$1
shift
case $arch in
amd64) target=x86_64-unknown-linux-musl ;;
arm64) target=aarch64-unknown-linux-musl ;;
*) echo "ARCH is amd64 or arm64, not '$arch'" >&2; exit 2 ;;
esac

cyclonedx=$(tools/packaging/tool.sh cargo-cyclonedx)
# It writes beside each Cargo.toml of the workspace, and nowhere else.
name=.sbom-$$
trap 'rm -f "$name.json" crates/*/"$name.json" benches/common/"$name.json" tests/claim_model/model/"$name.json"' EXIT
"$cyclonedx" cyclonedx --quiet --format json --spec-version 1.5 "$@" --target "$target" \
    --override-filename "$name"
python3 - "$name.json" <<'END'
import os, pathlib, sys
text = pathlib.Path(sys.argv[1]).read_text()
sys.stdout.write(text.replace("path+" + pathlib.Path(os.getcwd()).as_uri(), "path+file:///bullpen"))
END
