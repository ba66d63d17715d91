#!/bin/bash
# make-root.sh SUITE OUTDIR  - build a Debian root (systemd, sshd, cloud kernel, AppArmor) + a local deb cache in it.
# Run as root. The mirror is read from the host's apt sources; it is never printed nor left in the image.
set -euo pipefail
SUITE=${1:?suite}; OUT=${2:?outdir}
ROOT=$OUT/root-$SUITE; CACHE=$OUT/debcache-$SUITE; mkdir -p "$OUT" "$CACHE"
src() { awk -v sec="$1" '/^URIs:/{u=$2} /^Suites:/{ if ((($0 ~ /-security/)?1:0)==sec && !done) {print u; done=1} }' /etc/apt/sources.list.d/debian.sources; }
MAIN=$(src 0); SEC=$(src 1)
T0=$(date +%s.%N); lap() { printf '%-28s %6.1f s\n' "$1" "$(echo "$(date +%s.%N) - $T0" | bc)" >&2; T0=$(date +%s.%N); }
quiet() { "$@" > "$OUT/mkroot-$SUITE.log" 2>&1 || { sed -E 's#https?://[^ ]+#<mirror>#g' "$OUT/mkroot-$SUITE.log" | tail -30 >&2; return 1; }; }

BASE=systemd,systemd-sysv,udev,dbus,iproute2,iptables,kmod,ca-certificates,openssh-server,apparmor,procps,zstd,dbus-user-session,libpam-systemd,e2fsprogs,netbase
# packages an engine's test wants, kept as .deb files in the image (not installed): a fresh machine has none of them
DEBS="runc crun containernetworking-plugins uidmap slirp4netns fuse-overlayfs fuse3 conntrack socat ethtool busybox-static criu apparmor-utils curl iputils-ping"

rm -rf --one-file-system "$ROOT"
quiet debootstrap --variant=minbase --cache-dir="$CACHE" --include="$BASE" "$SUITE" "$ROOT" "$MAIN"
lap debootstrap

cat > "$ROOT/etc/apt/sources.list" <<S
deb $MAIN $SUITE main
deb $MAIN $SUITE-updates main
deb $SEC $SUITE-security main
S
cat > "$ROOT/etc/apt/apt.conf.d/01vm" <<'S'
APT::Install-Recommends "0"; Acquire::Languages "none"; Acquire::Check-Valid-Until "false"; Acquire::Check-Date "false";
S
printf '#!/bin/sh\nexit 101\n' > "$ROOT/usr/sbin/policy-rc.d"; chmod 755 "$ROOT/usr/sbin/policy-rc.d"
rm -f "$ROOT/etc/resolv.conf"; cp -L /etc/resolv.conf "$ROOT/etc/resolv.conf" 2>/dev/null || :
cp -L /etc/hosts "$OUT/hosts.host"
mkdir -p "$ROOT/etc/initramfs-tools/conf.d" "$ROOT/var/debs"
# small initrd: only what the disk needs; lz4 is quickest to unpack under TCG
echo 'MODULES=list
COMPRESS=lz4' > "$ROOT/etc/initramfs-tools/conf.d/vm"
printf '%s\n' virtio_pci virtio_blk virtio_net virtio_rng ext4 crc32c_generic > "$OUT/modules.list"

# shellcheck disable=SC2016 # for the inner shell
inchroot() { unshare -m --propagation private bash -c '
  R=$1; shift; mount -t proc proc $R/proc; mount -t sysfs sysfs $R/sys; mount --bind /dev $R/dev
  [ -e /etc/hosts ] && mount --bind /etc/hosts $R/etc/hosts
  export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin; exec chroot $R "$@"' - "$ROOT" "$@"; }
quiet inchroot sh -ec "apt-get update; apt-get -y dist-upgrade; apt-get -y install initramfs-tools lz4; "
cp "$OUT/modules.list" "$ROOT/etc/initramfs-tools/modules"
quiet inchroot sh -ec "apt-get -y install linux-image-cloud-amd64"
lap 'upgrade + kernel + initrd'
quiet inchroot sh -ec "cd /var/debs; apt-get -y install --download-only -o Dir::Cache::archives=/var/debs $DEBS; rm -rf partial lock; ls"
lap 'deb cache download'
# offline repository made of the .deb files
( cd "$ROOT/var/debs" && dpkg-scanpackages -m . /dev/null 2>/dev/null > Packages )
echo 'deb [trusted=yes] file:/var/debs ./' > "$ROOT/etc/apt/sources.list"
inchroot apt-get clean; rm -rf "$ROOT"/var/lib/apt/lists/*; rm -f "$ROOT"/usr/sbin/policy-rc.d "$ROOT"/etc/resolv.conf "$ROOT"/var/log/bootstrap.log "$ROOT"/var/log/apt/* "$ROOT"/var/log/dpkg.log
quiet inchroot apt-get update
# configuration
echo testvm > "$ROOT/etc/hostname"; echo 'nameserver 10.0.2.3' > "$ROOT/etc/resolv.conf"; printf '127.0.0.1 localhost testvm\n::1 localhost\n' > "$ROOT/etc/hosts"
echo '/dev/vda / ext4 defaults,noatime 0 1' > "$ROOT/etc/fstab"
mkdir -p "$ROOT/etc/systemd/network" "$ROOT/etc/modules-load.d" "$ROOT/root/.ssh" "$ROOT/etc/systemd/system/serial-getty@ttyS0.service.d"
printf '[Match]\nName=en* eth*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n' > "$ROOT/etc/systemd/network/10-vm.network"
printf '%s\n' overlay br_netfilter veth nf_nat > "$ROOT/etc/modules-load.d/engine.conf"
printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %%I linux\n' > "$ROOT/etc/systemd/system/serial-getty@ttyS0.service.d/auto.conf"
[ -e "$OUT/id" ] || ssh-keygen -q -t ed25519 -N '' -f "$OUT/id"
install -m 600 "$OUT/id.pub" "$ROOT/root/.ssh/authorized_keys"
printf 'UseDNS no\nGSSAPIAuthentication no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n' > "$ROOT/etc/ssh/sshd_config.d/vm.conf"
inchroot useradd -m -s /bin/bash -u 1000 user; install -d -m 700 -o 1000 -g 1000 "$ROOT/home/user/.ssh"; install -m 600 -o 1000 -g 1000 "$OUT/id.pub" "$ROOT/home/user/.ssh/authorized_keys"
inchroot systemctl -q enable systemd-networkd ssh
inchroot systemctl -q disable systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service 2>/dev/null || :
inchroot systemctl -q mask systemd-networkd-wait-online.service
inchroot systemctl -q set-default multi-user.target
: > "$ROOT/etc/machine-id"
cp -L "$ROOT"/vmlinuz "$OUT/vmlinuz-$SUITE"; cp -L "$ROOT"/initrd.img "$OUT/initrd-$SUITE"
lap configure
du -sh --apparent-size "$ROOT" "$ROOT/var/debs" "$OUT/vmlinuz-$SUITE" "$OUT/initrd-$SUITE" >&2
