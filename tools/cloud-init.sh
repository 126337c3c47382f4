#!/usr/bin/env bash
# tools/cloud-init.sh: prints the folder that Debian's cloud-init is unpacked in, for tests that run it in namespaces. It is not
# installed, because it would configure this machine at its next start; the Python packages that it needs are.
set -euo pipefail

# The version that Debian 12 has; its security updates of the last number are as good.
series='22.4.2-1+deb12u'
cache=${XDG_CACHE_HOME:-$HOME/.cache}/bullpen/cloud-init

unpacked() {
    compgen -G "$cache/$series*/usr/bin/cloud-init" | sort -V | tail -n 1
}

needs() {
    /usr/bin/python3 -c 'import configobj, jinja2, jsonpatch, jsonschema, netifaces, oauthlib, requests, serial, yaml' 2>/dev/null &&
        command -v ssh-keygen >/dev/null && command -v unshare >/dev/null
}

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

if ! needs || [ -z "$(unpacked)" ]; then
    if ! command -v apt-get >/dev/null; then
        echo 'cloud-init is unpacked from its Debian package, so this needs apt-get' >&2
        exit 1
    fi
    "${as_root[@]}" apt-get update -qq >&2
fi
if ! needs; then
    echo 'installs what cloud-init needs' >&2
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends openssh-client util-linux python3-configobj python3-jinja2 \
        python3-jsonpatch python3-jsonschema python3-netifaces python3-oauthlib python3-requests python3-serial python3-yaml >&2
    needs || { echo 'cloud-init still misses something' >&2; exit 1; }
fi
if [ -z "$(unpacked)" ]; then
    version=$(apt-cache madison cloud-init | awk '{ print $3 }' | grep -F "$series" | sort -V | tail -n 1)
    [ -n "$version" ] || { echo "there is no cloud-init $series* to be had: this needs Debian 12" >&2; exit 1; }
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/new.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    # apt-get checks the package against the signed index.
    (cd "$new" && apt-get download -qq -o APT::Sandbox::User=root "cloud-init=$version" >&2)
    dpkg-deb --extract "$new"/*.deb "$new/root"
    # Units of systemd, in a folder that would hide the link /lib.
    rm -rf "$new/root/lib"
    /usr/bin/python3 -m compileall -q "$new/root/usr/lib/python3/dist-packages/cloudinit"
    # Another run may have been first.
    mv -T "$new/root" "$cache/$version" 2>/dev/null || [ -x "$cache/$version/usr/bin/cloud-init" ]
fi
dirname "$(dirname "$(dirname "$(unpacked)")")"
