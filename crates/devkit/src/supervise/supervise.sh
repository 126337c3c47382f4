# Runs a program and ends it when the pipe on standard input closes, which the kernel
# does for a parent killed with -9 too. Arguments: name, work folder, grace in tenths
# of a second, program and its arguments.
# After the line "stay" on the pipe the program gets SIGTERM and its grace, and the work
# folder stays. Without that line nobody needs its data: it is killed, and the last
# supervisor removes the folder, as `rmdir` succeeds for one only.
name=$1 work=$2 grace=$3
shift 3
running=$work/running/$name
exec 3<&0 </dev/null

"$@" 3<&- &
child=$!
# If the parent died meanwhile, the last supervisor may have removed the folder: nobody would find this child any more.
echo "$child" >"$running" || kill -KILL "$child"

(
    keep=
    while read -r word <&3; do keep=$word; done
    # The file goes when the child has been waited for: its process id may be another's then.
    alive() { [ -e "$running" ] && kill -0 "$child"; }
    pause() { sleep 0.1 || sleep 1; }
    if [ "$keep" = stay ]; then
        alive && kill -TERM "$child"
        while alive && [ "$grace" -gt 0 ]; do
            pause
            grace=$((grace - 1))
        done
    fi
    alive && kill -KILL "$child"
    while alive; do pause; done
    [ "$keep" = stay ] && exit
    rm -f "$running"
    rmdir "$work/running" || exit
    # A child's own children may write there a little longer.
    tries=100
    until rm -rf "$work" || [ "$tries" -eq 0 ]; do
        pause
        tries=$((tries - 1))
    done
) >/dev/null 2>&1 &

exec 3<&-
wait "$child"
status=$?
rm -f "$running"
exit "$status"
