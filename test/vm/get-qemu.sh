#!/bin/bash
# get-qemu.sh DIR - QEMU 10 from bookworm-backports, unpacked (not installed) into DIR; needs Debian's qemu-system-x86 7.2 installed for its libraries
set -euo pipefail
D=${1:?folder}; mkdir -p "$D"/{lists/partial,archives/partial,root}; cd "$D"
M=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)
for s in bookworm bookworm-backports; do echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $M $s main"; done > sources.list
A=(-o Dir::Etc::sourcelist="$D/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$D/lists" -o Dir::Cache::archives="$D/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Debug::NoLocking=1)
apt-get "${A[@]}" -qq update
apt-get "${A[@]}" -qq -y --no-install-recommends -t bookworm-backports --download-only install qemu-system-x86
for p in archives/*.deb; do dpkg -x "$p" root; done; rm -rf sources.list lists archives
"$D/root/usr/bin/qemu-system-x86_64" --version | head -1
