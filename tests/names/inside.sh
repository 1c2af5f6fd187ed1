#!/bin/sh
# What is started by this sees FOLDER/etc and FOLDER/run as its own, and an unpacked Debian package as installed.
#   inside.sh FOLDER PACKAGE COMMAND...
# In a mount namespace of its own; box.py makes that.
set -e
folder=$1 package=$2
shift 2
mount -t sysfs -o ro sysfs /sys # systemd-networkd waits for udev else
mount -t overlay -o "lowerdir=$package/usr:/usr" overlay /usr
mount -t tmpfs tmpfs /usr/share/dbus-1/system-services # nobody is there who was not started
mount --bind "$folder/run" /run
[ ! -d /var/lib/NetworkManager ] || mount -t tmpfs tmpfs /var/lib/NetworkManager
mount --bind "$folder/etc" /etc
exec "$@"
