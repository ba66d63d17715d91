#!/bin/bash
# run.sh [SUITE...]: the fresh-machine proof in a virtual machine (QEMU, no KVM needed): Debian 12 (bookworm) unless suites are named.
# Makes the disk of the machine on first use (2 to 10 minutes), builds the release tarball, installs it offline, runs containers and a
# pod under systemd with cgroup v2 and AppArmor, checkpoints and restores with CRIU, reboots, looks again, uninstalls. Needs root and
# package sources of Debian.
# GANTRY_TARBALL names a release that is proven instead of one built from this tree.
# Not part of the gate: 8 to 20 minutes for each suite. Exit code: the number of failed steps.
set -euo pipefail
main() { # a function, so that the whole script is read before it runs
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "run.sh: needs root" >&2; exit 1; }
CACHE=${GANTRY_TEST_CACHE:-/var/cache/gantry-test}
export VMOUT=$CACHE/vm
mkdir -p "$VMOUT"
have() { command -v "$1" > /dev/null; }
if ! { have qemu-system-x86_64 && have qemu-img && have debootstrap && have socat && have bc && have ssh; }; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -q --no-install-recommends qemu-system-x86 qemu-utils debootstrap dpkg-dev e2fsprogs openssh-client socat bc > "$VMOUT/apt.log" 2>&1 ||
    { sed -E 's#https?://[^ ]*#<mirror>#g' "$VMOUT/apt.log" | tail -n 15 >&2; exit 1; }
fi
[ -x "$VMOUT/qemu/root/usr/bin/qemu-system-x86_64" ] || test/vm/get-qemu.sh "$VMOUT/qemu" > /dev/null 2>&1 || echo "run.sh: no newer QEMU: Debian's own is used"
suites=("$@")
[ $# -gt 0 ] || suites=(bookworm)
work=$(mktemp -d)
registry=
# shellcheck disable=SC2317 # called by the trap
cleanup() {
  test/vm/vm stop > /dev/null 2>&1 || :
  [ -z "$registry" ] || kill "$registry" 2> /dev/null || :
  rm -rf "$work"
}
trap cleanup EXIT

if [ -n "${GANTRY_TARBALL:-}" ]; then
  cp "$GANTRY_TARBALL" "$work/gantry.tar.gz"
else
  node_modules/.bin/bun scripts/release.ts --out "$work/dist" > /dev/null
  mv "$work"/dist/gantry-*-linux-amd64.tar.gz "$work/gantry.tar.gz"
  rm -rf "$work/dist"
fi
cp test/vm/proof.sh "$work/proof.sh"

# A registry of this host with one image; the guest sees it at 10.0.2.100:5000.
VMREG=$(python3 -c 'import socket;s=socket.socket();s.bind(("127.0.0.1",0));print(s.getsockname()[1])')
export VMREG
cat > "$work/registry.yml" <<Y
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$VMREG"}
Y
docker-registry serve "$work/registry.yml" > "$work/registry.log" 2>&1 &
registry=$!
sleep 1
node_modules/.bin/bun -e 'import { testImages } from "./test/fixtures/images.ts"; console.log(testImages().layout)' > "$work/layout"
skopeo copy -q --dest-tls-verify=false "oci:$(cat "$work/layout"):busybox" "docker://127.0.0.1:$VMREG/test/busybox:latest"

total=0
for suite in "${suites[@]}"; do
  began=$SECONDS
  [ -e "$VMOUT/$suite.img" ] || {
    echo "== making the disk of $suite"
    test/vm/make-root.sh "$suite" "$VMOUT" && test/vm/vm mkdisk "$suite" > /dev/null
  }
  test/vm/vm start "$suite"
  test/vm/vm put "$work/gantry.tar.gz" "$work/proof.sh" /root/t
  rc=0
  test/vm/vm exec 'bash /root/t/proof.sh first' || rc=$?
  total=$((total + rc))
  rc=0
  test/vm/vm exec 'bash /root/t/proof.sh limits' || rc=$?
  total=$((total + rc))
  rc=0
  test/vm/vm exec 'bash /root/t/proof.sh checkpoint' || rc=$?
  total=$((total + rc))
  rc=0
  test/vm/vm exec 'bash /root/t/proof.sh clock' || rc=$?
  total=$((total + rc))
  test/vm/vm reboot "$suite"
  rc=0
  test/vm/vm exec 'bash /root/t/proof.sh after-reboot' || rc=$?
  total=$((total + rc))
  test/vm/vm stop
  echo "== $suite: $((SECONDS - began)) s"
done
echo "vm proof: $total failed"
exit "$total"
}
main "$@"
