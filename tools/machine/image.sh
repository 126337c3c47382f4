#!/usr/bin/env bash
# tools/machine/image.sh: prints the folder with the image that tests boot under QEMU: Debian with cloud-init and an SSH server, as
# disk.raw, vmlinuz and initrd.img. It is built once, into the cache, from the mirrors that this machine's apt has. Debian's packages
# that this needs, and QEMU itself, are installed if they are missing. Needs root, because it builds a system with files of all owners.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

suite=bookworm
size=2G
folder=${XDG_CACHE_HOME:-$HOME/.cache}/bullpen/machine-$suite-$(cat "$here/image.sh" "$here/packages.txt" | sha256sum | cut -c 1-12)

if [ "$(id -u)" != 0 ] || [ "$(uname -m)" != x86_64 ] || ! command -v apt-get >/dev/null; then
    echo 'the machine under QEMU is of Debian for amd64: this needs root on such a system' >&2
    exit 1
fi

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need qemu-system-x86_64 qemu-system-x86
need qemu-img qemu-utils
need mmdebstrap mmdebstrap
need genisoimage genisoimage
need socat socat
need mke2fs e2fsprogs
need ssh openssh-client
if [ "${#missing[@]}" != 0 ]; then
    echo "installs ${missing[*]}" >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } >/dev/null
fi

# The mirrors of this machine for the suite, with its updates, as lines of a sources.list.
mirrors() {
    # apt itself replaces what stands in $().
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$suite" '$1 == "Debian" && ($2 == suite || index($2, suite "-") == 1) && $5 == "main" { print "deb", $3, $4, $5 }' | sort -u
}

build() {
    local work=$1 lines
    lines=$(mirrors)
    [ -n "$lines" ] || { apt-get update >/dev/null && lines=$(mirrors); }
    [ -n "$lines" ] || { echo "apt has no mirror of Debian's $suite on this machine: add one to /etc/apt/sources.list.d" >&2; exit 1; }
    # A proxy, and how strict this machine is with its mirrors.
    apt-config dump | grep -E '^Acquire::(http|https|Check-|Retries)' >"$work/apt.conf" || true

    # An initrd with only what the machine's disk needs: under QEMU without KVM, each module costs time.
    # shellcheck disable=SC2016
    mmdebstrap --quiet --mode=root --variant=minbase --include="$(paste -s -d , "$here/packages.txt")" --aptopt="$work/apt.conf" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"' \
        --essential-hook='echo MODULES=list >"$1/etc/initramfs-tools/conf.d/bullpen"' \
        --essential-hook='printf "%s\n" virtio_pci virtio_blk ext4 crc32c >"$1/usr/share/initramfs-tools/modules.d/bullpen"' \
        --customize-hook='echo "datasource_list: [NoCloud]" >"$1/etc/cloud/cloud.cfg.d/90_bullpen.cfg"' \
        --customize-hook='echo "/dev/vda / ext4 defaults 0 0" >"$1/etc/fstab"' \
        --customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname"' \
        --customize-hook='chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer dpkg-db-backup.timer fstrim.timer e2scrub_reap.service' \
        "$suite" "$work/root" - <<<"$lines" >&2
    cp -L "$work/root/vmlinuz" "$work/root/initrd.img" "$work"
    mke2fs -q -t ext4 -L root -d "$work/root" "$work/disk.raw" "$size" >&2
    rm -rf "$work/root" "$work/apt.conf"
}

if ! [ -d "$folder" ]; then
    mkdir -p "$(dirname "$folder")"
    work=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "builds a machine's image, once, in about two minutes" >&2
    build "$work"
    # Of two that build at once, the first wins.
    mv -T "$work" "$folder" 2>/dev/null || [ -d "$folder" ]
    echo "built it in $SECONDS s" >&2
fi
echo "$folder"
