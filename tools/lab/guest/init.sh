#!/bin/busybox sh
# First process of the lab, inside the initramfs: loads the modules, takes the job, puts the host's root in place and hands over to agent.sh.
# Runs under busybox's sh alone. Whatever goes wrong is said on the kernel console, which the host shows when a run fails.

die() {
  echo "lab: $*" >/dev/console
  poweroff -f
}

export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
read -r command_line </proc/cmdline

# A loadable module does not see the kernel command line by itself: `kvm_amd.npt=0` there becomes `npt=0` here.
parameters_of() {
  for word in $command_line; do
    case $word in "$1".*) echo "${word#*.}" ;; esac
  done
}

while read -r name file; do
  insmod "/modules/$file" $(parameters_of "$name") || die "module $name does not load"
done </modules/order

# The ports appear one after another (virtio 1.2, 5.3.5), and a port reads as empty until the host's end is known to be
# connected: a job counts as arrived when its last line has.
mkdir -p /run
tries=0
while [ "$job_complete" != yes ]; do
  [ $tries -lt 500 ] || die "no job from the host"
  tries=$((tries + 1))
  for port in /dev/vport*p1; do
    [ -c "$port" ] && cat "$port" >>/run/job
  done
  [ -f /run/job ] && . /run/job
  [ "$job_complete" = yes ] || sleep 0.02
done

mkdir -p /host /writes /root
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose host /host || die "the host's root does not mount"
mount -t tmpfs -o mode=755,size=75% writes /writes || die "no tmpfs"
mkdir /writes/upper /writes/work
mount -t overlay -o lowerdir=/host,upperdir=/writes/upper,workdir=/writes/work lab /root || die "no overlay"

for directory in proc sys dev run tmp; do [ -d /root/$directory ] || mkdir /root/$directory; done
mount -o move /proc /root/proc
mount -o move /sys /root/sys
mount -o move /dev /root/dev
mount -t tmpfs -o mode=755 run /root/run
mkdir /root/run/lab /root/dev/pts /root/dev/shm
cp /bin/busybox /lab/agent.sh /run/job /root/run/lab/

exec switch_root /root /run/lab/busybox sh /run/lab/agent.sh
