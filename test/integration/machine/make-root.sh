#!/bin/bash
# make-root.sh: a fresh Debian 12 root with systemd and nothing of containers, and beside it the packages an offline
# installation brings along. Made once from this machine's own package mirror: CACHE/machine-bookworm (root) and
# CACHE/machine-bookworm-debs. No address of the mirror stays in either.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
CACHE=${GANTRY_TEST_CACHE:-/var/cache/gantry-test}
ROOT=$CACHE/machine-bookworm
DEBS=$CACHE/machine-bookworm-debs
[ -e "$ROOT/.ready" ] && [ -e "$DEBS/.ready" ] && { echo "$ROOT"; exit 0; }
mkdir -p "$CACHE"
work=$(mktemp -d "$CACHE/machine.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work/debs"
# shellcheck disable=SC2016 # $1 is the hook's own argument
if ! "$HERE/../../fixtures/apt-sources.sh" bookworm |
  DEBS=$work/debs mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
    --include=systemd,systemd-sysv,dbus,iproute2,kmod,ca-certificates,procps,netbase,util-linux \
    --customize-hook='chroot "$1" apt-get clean; chroot "$1" apt-get -qq -y --no-install-recommends --download-only install runc containernetworking-plugins iptables && cp "$1"/var/cache/apt/archives/*.deb "$DEBS/"' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*.log "$1"/etc/resolv.conf; rm -f "$1"/etc/apt/sources.list.d/*; : > "$1/etc/apt/sources.list"; : > "$1/etc/machine-id"; echo machine > "$1/etc/hostname"' \
    bookworm "$work/root" - > "$work/log" 2>&1; then
  sed -E 's#https?://[^ ]+#<mirror>#g' "$work/log" | tail -20 >&2
  exit 1
fi
# Nothing may wait for a network or a console that is not there.
for unit in systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer fstrim.timer getty.target console-getty.service; do
  ln -sf /dev/null "$work/root/etc/systemd/system/$unit"
done
touch "$work/root/.ready" "$work/debs/.ready"
rm -rf --one-file-system "$ROOT" "$DEBS"
mv "$work/debs" "$DEBS"
mv "$work/root" "$ROOT"
echo "$ROOT"
