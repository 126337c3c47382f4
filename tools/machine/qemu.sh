#!/usr/bin/env bash
# tools/machine/qemu.sh IMAGE OPERATOR SSH: runs one machine under QEMU without KVM, as bullpen-simcloud --machine-program asks for it. IMAGE
# is the folder that image.sh prints. The machine reaches OPERATOR, the port of this computer where its operator listens for
# machines, as 10.0.2.100:OPERATOR, and nothing else. Its SSH server is port SSH of $BULLPEN_MACHINE_ADDRESS.
set -euo pipefail
image=$1 operator=$2 ssh=$3

# A line on standard input asks the machine to shut down. When the input ends, the machine has to go at once: whoever started this
# may have died.
exec 3<&0 </dev/null

# The disk stays where it is when a machine is only stopped and started.
[ -e disk.qcow2 ] || qemu-img create -q -f qcow2 -b "$image/disk.raw" -F raw disk.qcow2
printf 'instance-id: %s\nlocal-hostname: %s\n' "$BULLPEN_MACHINE_ID" "$BULLPEN_MACHINE_ID" >meta-data
genisoimage -quiet -output seed.iso -volid cidata -joliet -rock user-data meta-data

qemu-system-x86_64 -accel tcg,tb-size=128 -machine q35 -cpu max -smp 1 -m 512 -nodefaults -display none -serial file:serial.log -monitor unix:monitor,server=on,wait=off \
    -kernel "$image/vmlinuz" -initrd "$image/initrd.img" -append 'root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off nokaslr quiet' \
    -drive file=disk.qcow2,if=virtio,format=qcow2,cache=unsafe -drive file=seed.iso,if=virtio,format=raw,readonly=on \
    -netdev "user,id=n0,restrict=on,hostfwd=tcp:$BULLPEN_MACHINE_ADDRESS:$ssh-:22,guestfwd=tcp:10.0.2.100:$operator-cmd:socat STDIO TCP:127.0.0.1:$operator" \
    -device virtio-net-pci,netdev=n0 -device virtio-rng-pci 3<&- &
machine=$!
{
    while read -r _ <&3; do echo system_powerdown | socat - UNIX-CONNECT:monitor >/dev/null; done
    kill -KILL "$machine"
} &
watch=$!
exec 3<&-
status=0
{ wait "$machine" || status=$?; } 2>/dev/null # Or else the shell prints how it was killed.
kill "$watch" 2>/dev/null || true
exit "$status"
