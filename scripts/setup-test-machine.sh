#!/bin/bash
# setup-test-machine.sh: installs what the tests need from the machine's own Debian package sources. Idempotent: a machine
# that has everything is left alone without a look at the network. Nothing is started and no containerd is installed;
# the peers the tests compare with are unpacked beside the system by test/peers/fetch-peers.sh.
set -euo pipefail

# command or file that proves the package is there, then the package. A file starts with "/".
NEEDS=(
  "runc runc"
  "crun crun"
  "/usr/lib/cni/bridge containernetworking-plugins"
  "docker-registry docker-registry"
  "skopeo skopeo"
  "umoci umoci"
  "podman podman"
  "buildah buildah"
  "/bin/busybox busybox-static"
  "iptables iptables"
  "ip iproute2"
  "systemd-nspawn systemd-container"
  "mmdebstrap mmdebstrap"
  "debootstrap debootstrap"
  "dpkg-scanpackages dpkg-dev"
  "chromium chromium"
  "strace strace"
  "htpasswd apache2-utils"
  "openssl openssl"
  "getfattr attr"
  "jq jq"
  "gcc gcc"
  "/usr/include/stdlib.h libc6-dev"
  "curl curl"
  "/etc/ssl/certs/ca-certificates.crt ca-certificates"
  "ps procps"
  "python3 python3-minimal"
  "/usr/share/doc/python3/copyright python3"
  "shellcheck shellcheck"
  "zstd zstd"
  "unshare util-linux"
  "setpriv util-linux"
  "/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring"
)

missing() {
  local need proof package
  for need in "${NEEDS[@]}"; do
    proof=${need%% *}
    package=${need##* }
    case $proof in
      /*) [ -e "$proof" ] || echo "$package" ;;
      *) command -v "$proof" > /dev/null || echo "$package" ;;
    esac
  done | sort -u
}

mapfile -t todo < <(missing)
if [ "${#todo[@]}" -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "setup-test-machine: run as root: these packages are missing: ${todo[*]}" >&2
    exit 1
  fi
  command -v apt-get > /dev/null || { echo "setup-test-machine: no apt-get here; install: ${todo[*]}" >&2; exit 1; }
  echo "setup-test-machine: installing ${todo[*]}"
  # A package's service must not start on a test machine: docker-registry would take a port.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "${todo[@]}"; } > "$log" 2>&1; then
    tail -20 "$log" >&2
    echo "setup-test-machine: installing failed, see above" >&2
    exit 1
  fi
  rm -f "$log"
  # podman brings a network of its own, which would become the first one that tests of our CNI find.
  rm -f /etc/cni/net.d/87-podman-bridge.conflist
  mapfile -t todo < <(missing)
  if [ "${#todo[@]}" -gt 0 ]; then
    echo "setup-test-machine: still missing after the installation: ${todo[*]}" >&2
    exit 1
  fi
fi
echo "setup-test-machine: ready"
