#!/bin/bash
# fetch-peers.sh [DIR]: unpacks Debian's own containerd packages beside the system, for tests and benchmarks that hold ours
# against them: DIR/1.6 (bookworm) and DIR/1.7 (trixie), each a small root with usr/bin/{containerd,ctr,containerd-shim-runc-v2}.
# DIR/docker is bookworm's docker daemon, when it runs here.
# DIR is /var/cache/gantry-test/peers unless given. Nothing is installed. The package mirror is the machine's own: its
# address is read from the apt sources at run time. Prints the folder of each peer; idempotent.
set -euo pipefail
DIR=${1:-${GANTRY_TEST_CACHE:-/var/cache/gantry-test}/peers}
mkdir -p "$DIR"

# The first mirror of Debian's main archive, from deb822 or one-line sources.
mirror() {
  {
    { cat /etc/apt/sources.list.d/*.sources 2> /dev/null || :; } | awk '
      function flush() { if (uri != "" && deb && !security) print uri; uri = ""; deb = 0; security = 0 }
      /^$/ { flush() }
      /^Types:/ { deb = / deb( |$)/ }
      /^URIs:/ { uri = $2 }
      /^Suites:/ { security = /-security/ }
      END { flush() }'
    { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2> /dev/null || :; } |
      awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { if ($0 !~ /-security/) print $i; break } }'
  } | sed -n 1p
}

# fetch SUITE PACKAGE OUT: downloads one package with a private apt configuration and unpacks it into OUT.
fetch() {
  local suite=$1 package=$2 out=$3 work uri
  uri=$(mirror)
  [ -n "$uri" ] || { echo "fetch-peers: no Debian mirror in /etc/apt" >&2; return 1; }
  work=$(mktemp -d)
  mkdir -p "$work"/{lists/partial,cache/archives/partial,parts,etc}
  : > "$work/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" > "$work/sources.list"
  cat > "$work/apt.conf" << CONF
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "$work/parts";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "$work/parts";
Dir::State::Lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
  if ! (cd "$work" && APT_CONFIG=$work/apt.conf apt-get -q update && APT_CONFIG=$work/apt.conf apt-get -q download "$package") \
    > "$work/log" 2>&1; then
    sed -E 's#https?://[^ ]+#<mirror>#g' "$work/log" | tail -10 >&2
    rm -rf "$work"
    return 1
  fi
  mkdir -p "$out"
  dpkg -x "$work"/"$package"_*.deb "$out"
  rm -rf "$work"
}

for pair in 1.6:bookworm 1.7:trixie; do
  version=${pair%%:*}
  suite=${pair##*:}
  out=$DIR/$version
  if [ ! -x "$out/usr/bin/containerd" ]; then
    rm -rf "$out.new"
    fetch "$suite" containerd "$out.new"
    mv "$out.new" "$out"
  fi
  # The packages are linked against the suite's own libc: prove that they start here before a test relies on it.
  for program in containerd ctr; do
    said=$("$out/usr/bin/$program" --version 2>&1) || { echo "fetch-peers: $program $version does not run here: $said" >&2; exit 1; }
    case $said in *" $version."*) ;; *) echo "fetch-peers: $program of $suite says '$said', wanted $version" >&2; exit 1 ;; esac
  done
  [ -x "$out/usr/bin/containerd-shim-runc-v2" ] || { echo "fetch-peers: no shim in $out" >&2; exit 1; }
  echo "$out"
done
# Docker's daemon, for tests that let it read what we write. One that does not run here is left out: its tests are skipped.
out=$DIR/docker
if [ ! -x "$out/usr/sbin/dockerd" ]; then
  rm -rf "$out.new"
  if fetch bookworm docker.io "$out.new" && "$out.new/usr/sbin/dockerd" --version > /dev/null 2>&1; then
    mv "$out.new" "$out"
  else
    rm -rf "$out.new"
  fi
fi
[ ! -x "$out/usr/sbin/dockerd" ] || echo "$out"
