#!/usr/bin/env bash
# machine.sh CLOUD_INIT SEED PROOF: a machine without a kernel of its own. All stages of the cloud-init that is unpacked in
# CLOUD_INIT run in namespaces, on an overlay over this machine's files that is gone afterwards. SEED has meta-data, user-data
# and, if there is one, image.cfg, a setting of the image. What runs in the machine finds PROOF as /proof.
# The network is this machine's, so that loopback addresses can be reached.
set -euo pipefail
export CLOUD_INIT=$1 SEED=$2 PROOF=$3

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo --non-interactive "--preserve-env=CLOUD_INIT,SEED,PROOF")
# The inner shell expands these.
# shellcheck disable=SC2016
exec "${as_root[@]}" unshare --mount --uts --ipc --pid --fork --kill-child bash -euo pipefail -c '
work=$PROOF/.machine
mkdir "$work"
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/scratch" "$work/root"
cp -a "$CLOUD_INIT/." "$work/upper/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/scratch" "$work/root"
cd "$work/root"
mount -t proc proc proc
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
# No disks: nothing may reach those of this machine.
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir proof
mount --bind "$PROOF" proof
rm -rf var/lib/cloud etc/ssh/ssh_host_* etc/cloud/cloud-init.disabled
mkdir -p var/lib/cloud/seed/nocloud etc/ssh
cp "$SEED/meta-data" "$SEED/user-data" var/lib/cloud/seed/nocloud/
# Only modules that stay in the machine: those for disks, networks, packages and locales are left out.
cat > etc/cloud/cloud.cfg.d/98-machine.cfg <<END
datasource_list: [NoCloud]
network: {config: disabled}
ssh_genkeytypes: [ed25519, ecdsa]
cloud_init_modules: [bootcmd, write-files, users-groups, ssh]
cloud_config_modules: [runcmd]
cloud_final_modules: [write-files-deferred, scripts-per-once, scripts-per-boot, scripts-per-instance, scripts-user, phone-home, final-message]
END
[ ! -e "$SEED/image.cfg" ] || cp "$SEED/image.cfg" etc/cloud/cloud.cfg.d/99-image.cfg
for stage in "init --local" "init" "modules --mode=config" "modules --mode=final"; do
    # A stage fails when a module does; the next one runs all the same, as at a boot.
    chroot . cloud-init $stage >> "$PROOF/.log" 2>&1 || echo "failed: $stage" >> "$PROOF/.log"
done
grep -E "WARNING|ERROR|Traceback" var/log/cloud-init.log >> "$PROOF/.log" || true
for kept in run/bullpen run/bullpen/env home/ci/.ssh/authorized_keys var/lib/cloud/instance/cloud-config.txt; do
    [ -e "$kept" ] || continue
    echo "$kept: $(stat --format "%a %U" "$kept")" >> "$PROOF/.modes"
    [ ! -f "$kept" ] || install -D -m 644 "$kept" "$PROOF/$kept"
done
'
