#!/usr/bin/env bash
# Assembles the root file system of the image from built programs: Dockerfile and tests share it.
#
#   rootfs.sh FOLDER PROGRAM...
#
# FOLDER, which must not exist or be empty, then holds the programs in /usr/local/bin, the shared libraries that they
# need where they are on this machine, certificates of public authorities, a user, and the folders that are written to.
# Needs Debian's libc-bin (ldd) and ca-certificates. SOURCE_DATE_EPOCH sets the times of all files (default 0).
set -euo pipefail

readonly user=65532 # as other images without a distribution have it
readonly authorities=/etc/ssl/certs/ca-certificates.crt

if [ $# -lt 2 ]; then echo "usage: $(basename "$0") FOLDER PROGRAM..." >&2; exit 2; fi
root=$1
shift
if [ ! -s "$authorities" ]; then echo "$authorities is missing: install ca-certificates" >&2; exit 1; fi
mkdir -p "$root"
if [ -n "$(ls -A "$root")" ]; then echo "$root is not empty" >&2; exit 1; fi
mkdir -p "$root"/{etc/ssl/certs,usr/local/bin,usr/share/doc/gantry,cache/xpkg,tmp,proc,sys,dev}

# copyright LIBRARY: the terms of the Debian package that a library comes from.
copyright() {
  local package file
  command -v dpkg-query >/dev/null || return 0
  for file in "$1" "/usr$1"; do
    package=$(dpkg-query --search "$file" 2>/dev/null | head -1 | cut -d: -f1) || continue
    file=/usr/share/doc/$package/copyright
    if [ -n "$package" ] && [ -e "$file" ]; then
      mkdir -p "$root/usr/share/doc/$package"
      cp --dereference "$file" "$root/usr/share/doc/$package/copyright"
      return 0
    fi
  done
}

for program; do
  cp --dereference "$program" "$root/usr/local/bin/"
  # "libc.so.6 => /lib/.../libc.so.6 (0x...)" and, the loader, "/lib64/ld-linux-x86-64.so.2 (0x...)".
  libraries=$(ldd "$program" | sed -n 's/^\t\(.* => \)\?\(\/[^ ]*\) (0x[0-9a-f]*)$/\2/p')
  if ldd "$program" | grep 'not found' >&2; then echo "$program needs what is not installed" >&2; exit 1; fi
  for library in $libraries; do
    mkdir -p "$root$(dirname "$library")"
    cp --dereference "$library" "$root$library"
    copyright "$library"
  done
done

cp "$authorities" "$root$authorities"
cp "$(dirname "${BASH_SOURCE[0]}")/../../LICENSE" "$root/usr/share/doc/gantry/"
echo "gantry:x:$user:$user:gantry:/:/sbin/nologin" >"$root/etc/passwd"
echo "gantry:x:$user:" >"$root/etc/group"
# glibc asks DNS by itself; without this it would look for modules that are not there.
echo "hosts: files dns" >"$root/etc/nsswitch.conf"

find "$root" -type d -exec chmod 755 {} +
find "$root" -type f -exec chmod 644 {} +
# Programs and the loader; the kernel does not care about the other libraries.
find "$root/usr/local/bin" "$root"/lib* -type f -exec chmod 755 {} +
# For any user: some clusters choose one.
chmod 1777 "$root"/{tmp,cache,cache/xpkg}
if [ "$(id -u)" = 0 ]; then chown -hR 0:0 "$root"; fi
find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
