# Second half of the lab's first process, on the host's root: finishes the mounts, runs the job's command between the ports, reports its status.
# /run/lab/job sets: end_mark terminal rows columns stdin_wanted out_directory modules_directory modules_version hide_tmp, and two functions that turn into the command.

# The ports, in the order of src/qemu.ts. 1 was the job.
set -- /dev/vport*p1
ports=${1%1}
stdin_port=${ports}2
stdout_port=${ports}3
stderr_port=${ports}4
control_port=${ports}5
terminal=/dev/hvc0

b=/run/lab/busybox
. /run/lab/job

die() {
  echo "lab: $*" >/dev/console
  $b poweroff -f
}

tries=0
until [ -c $control_port ]; do
  [ $tries -lt 500 ] || die "no control port"
  tries=$((tries + 1))
  $b sleep 0.02
done

$b mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
$b mount -t tmpfs -o mode=1777 shm /dev/shm
$b ln -s /proc/self/fd /dev/fd
$b ln -s /proc/self/fd/0 /dev/stdin
$b ln -s /proc/self/fd/1 /dev/stdout
$b ln -s /proc/self/fd/2 /dev/stderr
$b mount -t tracefs tracefs /sys/kernel/tracing
$b mount -t debugfs debugfs /sys/kernel/debug
$b mount -t cgroup2 cgroup /sys/fs/cgroup
[ "$hide_tmp" = yes ] && $b mount -t tmpfs -o mode=1777 tmp /tmp
$b ifconfig lo 127.0.0.1 up
$b hostname lab
ulimit -n "$(ulimit -H -n)"

if [ -n "$modules_directory" ]; then
  $b mkdir -p "/lib/modules/$modules_version"
  $b mount -o bind "$modules_directory" "/lib/modules/$modules_version"
fi
if [ -n "$out_directory" ]; then
  $b mkdir -p "$out_directory"
  # cache=mmap: written through at once, and a file there can still be mapped.
  $b mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=mmap out "$out_directory" || die "$out_directory does not mount"
fi

# A port takes one opener: this descriptor is the control port for the whole run. The first write waits until the host is
# connected, and as this is the last port, all others are then connected too.
exec 7<>$control_port
echo up >&7

# Host to lab. An end of file means that the host's end is gone, and with it the reason to run.
{
  while read -r word first second; do
    [ "$word" = size ] && [ -c $terminal ] && $b stty -F $terminal rows "$first" columns "$second"
  done
  $b poweroff -f
} <&7 &

# Ends whatever the command left behind. The lab's own processes are told by their program.
end_leftovers() {
  for entry in /proc/[0-9]*; do
    [ "$entry/exe" -ef $b ] || kill -9 "${entry#/proc/}" 2>/dev/null
  done
}

if [ "$terminal_wanted" = yes ]; then
  # A terminal that nobody has open forgets its size.
  (exec 7>&- <$terminal >$terminal 2>&1; $b stty rows "$rows" columns "$columns"; become_terminal_command)
  status=$?
  printf %s "$end_mark" >$terminal
else
  $b mkfifo /run/lab/stdin /run/lab/stdout /run/lab/stderr
  { $b cat </run/lab/stdout; printf %s "$end_mark"; } 7>&- >$stdout_port &
  stdout_copy=$!
  { $b cat </run/lab/stderr; printf %s "$end_mark"; } 7>&- >$stderr_port &
  stderr_copy=$!
  input=/dev/null
  if [ "$stdin_wanted" = yes ]; then
    input=/run/lab/stdin
    $b cat 7>&- <$stdin_port >$input &
    stdin_copy=$!
  fi
  # The redirections are inside, so that what this shell says of a killed command does not get into the command's output.
  (exec 7>&- <$input >/run/lab/stdout 2>/run/lab/stderr; become_command)
  status=$?
  # What the command left running may keep its output open for ever: it gets one second.
  { $b sleep 1; end_leftovers; } 7>&- &
  reaper=$!
  wait $stdout_copy $stderr_copy
  kill $reaper $stdin_copy 2>/dev/null
fi

if [ -n "$out_directory" ]; then
  cd /
  $b sync
  $b umount "$out_directory" || { end_leftovers; $b umount "$out_directory"; }
fi
echo "exit $status" >&7
# The host ends the machine now.
while :; do wait; $b sleep 60; done
