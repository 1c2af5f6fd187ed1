#!/bin/sh
# What is started by this sees FOLDER/etc, FOLDER/run and FOLDER/sys as its own, and a /dev with nothing but terminals.
#   inside.sh FOLDER COMMAND...
# In a mount namespace of its own; tests/enclosure.py makes that. The terminals are the machine's, so that the simulated
# modems can be outside.
set -e
folder=$1
shift
mount --bind "$folder/sys" /sys
mount -o remount,bind,ro /sys # NetworkManager waits for udev else
mkdir "$folder/pts"
mount --bind /dev/pts "$folder/pts"
mount -t tmpfs -o mode=755 dev /dev
mkdir /dev/pts /dev/shm
mount --move "$folder/pts" /dev/pts
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0" "ptmx 5 2"; do
  mknod -m 666 "/dev/${node%% *}" c ${node#* }
done
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
mount -t tmpfs -o mode=755 services /usr/share/dbus-1/system-services # nobody is there who was not started
for state in NetworkManager ModemManager; do
  [ ! -d "/var/lib/$state" ] || mount -t tmpfs -o mode=755 state "/var/lib/$state"
done
mount --bind "$folder/run" /run
mount --bind "$folder/etc" /etc
exec "$@"
