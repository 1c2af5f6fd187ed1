#!/bin/sh
# The way from fresh namespaces to systemd as their first process; machine.py starts it.
#   boot.sh FOLDER CGROUP CHECKOUT LIBRARIES
# FOLDER is empty. The root is built there on a tmpfs, of the host's /usr, read-only, and nothing else of the host but its
# terminals, so that simulated modems can be outside; all mounts go with the mount namespace. What systemd would do to the
# kernel that it shares with the host is masked.
set -e
folder=$1 cgroup=$2 checkout=$3 libraries=$4

mkdir "$folder/cgroup"
mount -t cgroup2 none "$folder/cgroup"
mkdir "$folder/cgroup/$cgroup"
echo $$ >"$folder/cgroup/$cgroup/cgroup.procs"

root=$folder/root
mkdir "$root"
mount -t tmpfs -o mode=755 root "$root"
cd "$root"
mkdir -p usr proc sys dev run tmp var root home opt host src libraries etc/systemd/system
for name in bin sbin lib lib64; do ln -s "usr/$name" "$name"; done
mount --bind /usr usr
mount -o remount,bind,ro usr
mount -t tmpfs -o mode=755 local usr/local
mkdir usr/local/bin
mount --bind "$checkout" src
mount --bind "$libraries" libraries
mount -o remount,bind,ro libraries

mount -t proc proc proc
mount --bind proc/sys/net proc/sys/net
mount --bind proc/sys proc/sys # over it
mount -o remount,bind,ro proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,rw proc/sys/net
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 dev dev
mkdir dev/pts dev/shm
for name in null zero full random urandom tty ptmx; do
  touch "dev/$name"
  mount --bind "/dev/$name" "dev/$name"
done
mount --bind /dev/pts dev/pts
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp

echo "root:x:0:0::/root:/bin/sh" >etc/passwd
echo "root:x:0:" >etc/group
echo "0123456789abcdef0123456789abcdef" >etc/machine-id
echo "ID=debian" >etc/os-release
for wanted in usr/lib/systemd/system/sysinit.target.wants/* usr/lib/systemd/system/sockets.target.wants/*; do
  case ${wanted##*/} in
    systemd-journald*.service | systemd-journald*.socket | systemd-sysusers.service | systemd-tmpfiles-setup.service) ;;
    *) ln -s /dev/null "etc/systemd/system/${wanted##*/}" ;;
  esac
done

exec unshare --cgroup sh -ec '
  mount -t cgroup2 none sys/fs/cgroup
  pivot_root . host
  umount -l /host
  exec env -i container=lxc NOTIFY_SOCKET="$0" PATH=/usr/sbin:/usr/bin \
    /usr/lib/systemd/systemd --unit=basic.target --log-target=console --show-status=no </dev/null
' "$NOTIFY_SOCKET"
