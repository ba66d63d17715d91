#!/bin/sh
# install.sh: installs Gantry, a container engine that speaks containerd's APIs, or removes it. Run as root.
# From a release tarball it uses the shipped executable; from a checkout it builds one. Running it again changes nothing
# that is already right. "install.sh --help" lists the options.
set -eu

LAYOUT=1
prefix=/usr/local
root=
dry=0
uninstall=0
purge=0
offline=0
start=1
force=0
packages=

usage() {
  cat << 'USAGE'
usage: install.sh [OPTION]...

Installs the engine: packages it needs (runc, CNI plugins, iptables), the executable with its links containerd, ctr,
crictl and containerd-shim-runc-v2, a systemd unit, configuration. Then starts it and runs a hello container.

  --dry-run         say what would be done, change nothing
  --uninstall       remove what an installation laid out; images and containers stay unless --purge is given
  --purge           with --uninstall: also remove /var/lib/containerd and /run/containerd (named volumes of "gantry run" stay)
  --prefix DIR      where bin/ goes (/usr/local)
  --root DIR        install below DIR as if it were /, for images of machines: no packages, no start
  --offline         never use the network: needed packages are there, or come from --packages
  --packages DIR    a folder with .deb or .rpm files to install missing packages from (default: packages/ beside this script)
  --no-start        do not enable or start the service, run no hello container
  --force           replace foreign files (kept as NAME.orig), take the place of another engine, remove running containers
  --help            this text
USAGE
}

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
# die WHAT [NEXT]: one line on what is wrong, one on what to do.
die() {
  printf 'install.sh: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '  next: %s\n' "$2" >&2
  exit 1
}
# does CMD...: runs it, or says it in a dry run.
does() {
  if [ $dry = 1 ]; then
    say "    would run: $*"
  else
    "$@"
  fi
}
have() { command -v "$1" > /dev/null 2>&1; }

while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=1 ;;
    --uninstall) uninstall=1 ;;
    --purge) purge=1 ;;
    --offline) offline=1 ;;
    --no-start) start=0 ;;
    --force) force=1 ;;
    --prefix | --root | --packages)
      if [ $# -lt 2 ] || [ -z "$2" ]; then die "option $1 needs a folder" "install.sh --help"; fi
      case $1 in --prefix) prefix=$2 ;; --root) root=$2 ;; --packages) packages=$2 ;; esac
      shift
      ;;
    --prefix=*) prefix=${1#*=} ;;
    --root=*) root=${1#*=} ;;
    --packages=*) packages=${1#*=} ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) die "unknown option \"$1\"" "install.sh --help" ;;
  esac
  shift
done
case $prefix in /*) ;; *) die "--prefix must be an absolute path, not \"$prefix\"" ;; esac
prefix=${prefix%/}
if [ -n "$root" ]; then
  case $root in /*) ;; *) die "--root must be an absolute path, not \"$root\"" ;; esac
  root=${root%/}
  start=0
fi

here=$(cd "$(dirname "$0")" && pwd)
bin=$root$prefix/bin
manifest=$root$prefix/share/gantry/installed
unit=$root/etc/systemd/system/containerd.service
socket=/run/containerd/containerd.sock
pidfile=/run/containerd/gantry.pid
logfile=/var/log/gantry.log
links="containerd ctr crictl containerd-shim-runc-v2"

systemd_runs() { [ -d /run/systemd/system ]; }
sum() { sha256sum "$1" | cut -d ' ' -f 1; }
# The process that our own background start made, if it still is that.
background_pid() {
  [ -s "$pidfile" ] || return 1
  pid=$(cat "$pidfile")
  [ "$(readlink -f "/proc/$pid/exe" 2> /dev/null)" = "$(readlink -f "$bin/gantry" 2> /dev/null)" ] || return 1
  printf '%s\n' "$pid"
}
answers() { "$bin/ctr" --address "$socket" version > /dev/null 2>&1; }

# ---------------------------------------------------------------------------------------------------- what was laid out
# The manifest has one line per thing we made, paths without --root: "file SHA256 PATH", "link TARGET PATH", "dir - PATH",
# and "orig - PATH.orig" for what we moved away.
# shellcheck disable=SC2016 # awk's own variables
path_of='{ line = $0; sub(/^[^ ]* [^ ]* /, "", line) }'
record() { # record KIND DETAIL PATH
  [ $dry = 0 ] || return 0
  path=${3#"$root"}
  awk -v path="$path" "$path_of"' line != path' "$manifest" > "$manifest.new"
  printf '%s %s %s\n' "$1" "$2" "$path" >> "$manifest.new"
  mv "$manifest.new" "$manifest"
}
recorded() { # recorded PATH: we made it
  [ -e "$manifest" ] && [ -n "$(awk -v path="${1#"$root"}" "$path_of"' line == path' "$manifest")" ]
}
recorded_detail() { # the sum or target we left at PATH
  awk -v path="${1#"$root"}" "$path_of"' line == path { print $2 }' "$manifest"
}
make_dir() { # make_dir PATH: with its missing parents, each recorded
  [ ! -d "$1" ] && [ $dry = 0 ] || return 0
  make_dir "$(dirname "$1")"
  mkdir -m 0755 "$1"
  record dir - "$1"
}
keep_orig() { # keep_orig PATH: moves it to PATH.orig; the first one kept is the one that is given back
  say "    keeping $1 as $1.orig"
  [ $dry = 0 ] || return 0
  if [ -e "$1.orig" ] || [ -L "$1.orig" ]; then
    rm -rf "$1"
    return
  fi
  mv "$1" "$1.orig"
  record orig - "$1.orig"
}
make_way() { # make_way PATH: what somebody else put there is refused, or with --force kept; our own that was edited is kept
  { [ -e "$1" ] || [ -L "$1" ]; } || return 0
  if ! recorded "$1"; then
    [ $force = 1 ] || die "$1 is there and is not ours" "move it away, or install.sh --force keeps it as $1.orig"
    keep_orig "$1"
  elif [ -f "$1" ] && [ ! -L "$1" ] && [ "$(sum "$1")" != "$(recorded_detail "$1")" ]; then
    keep_orig "$1"
  fi
}
put_file() { # put_file SOURCE PATH MODE: replaced by a rename, so a running program keeps its bytes
  if [ ! -L "$2" ] && recorded "$2" && cmp -s "$1" "$2"; then return 0; fi
  make_way "$2"
  make_dir "$(dirname "$2")"
  say "    $2"
  [ $dry = 0 ] || return 0
  cp "$1" "$2.new.$$"
  chmod "$3" "$2.new.$$"
  mv -f "$2.new.$$" "$2"
  record file "$(sum "$2")" "$2"
  changed=1
}
put_link() { # put_link TARGET PATH
  if [ -L "$2" ] && [ "$(readlink "$2")" = "$1" ]; then return 0; fi
  make_way "$2"
  make_dir "$(dirname "$2")"
  say "    $2 -> $1"
  [ $dry = 0 ] || return 0
  ln -sfn "$1" "$2"
  record link "$1" "$2"
}
# put_config SOURCE PATH: a person's file stays as it is, with a copy beside it from before we came.
put_config() {
  if [ -e "$2" ]; then
    if ! recorded "$2" && [ ! -e "$2.orig" ]; then
      say "    $2 stays as it is (a copy is in $2.orig)"
      [ $dry = 0 ] || return 0
      cp -p "$2" "$2.orig"
      record file "$(sum "$2.orig")" "$2.orig"
    fi
    return 0
  fi
  put_file "$1" "$2" 0644
}

# ------------------------------------------------------------------------------------------------------------ uninstall
running_tasks() { # lines "NAMESPACE ID"
  answers || return 0
  "$bin/ctr" --address "$socket" namespaces ls -q | while read -r ns; do
    "$bin/ctr" --address "$socket" -n "$ns" tasks ls -q | while read -r id; do
      if [ -n "$id" ]; then printf '%s %s\n' "$ns" "$id"; fi
    done
  done
}
# Shims of this installation, which outlive the daemon.
running_shims() {
  for exe in /proc/[0-9]*/exe; do
    target=$(readlink "$exe" 2> /dev/null) || continue
    # A shim that was started before an upgrade runs from the replaced file.
    [ "${target% (deleted)}" = "$(readlink -f "$bin/gantry")" ] || continue
    pid=${exe#/proc/}
    pid=${pid%/exe}
    case $(tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null) in *containerd-shim*) printf '%s\n' "$pid" ;; esac
  done
}
stop_service() {
  if systemd_runs; then
    if [ -e "$unit" ]; then does systemctl disable --now --quiet containerd.service || :; fi
  elif pid=$(background_pid); then
    does kill "$pid"
    tries=0
    while [ $dry = 0 ] && [ -d "/proc/$pid" ] && [ $tries -lt 100 ]; do
      sleep 0.1
      tries=$((tries + 1))
    done
    does rm -f "$pidfile"
  fi
}
remove_all() {
  [ -e "$manifest" ] || die "nothing to remove: there is no $manifest" "give the --prefix and --root of the installation"
  if [ -z "$root" ]; then
    tasks=$(running_tasks)
    if [ -n "$tasks" ]; then
      say "running containers (namespace, id):"
      say "$tasks" | sed 's/^/    /'
      [ $force = 1 ] || die "containers are running" "stop them (ctr tasks kill), or install.sh --uninstall --force"
      # The exit code is the container's own.
      say "$tasks" | while read -r ns id; do does "$bin/ctr" --address "$socket" -n "$ns" tasks rm -f "$id" || :; done
    elif [ -n "$(running_shims)" ] && ! answers; then
      [ $force = 1 ] || die "shims of containers are running and the daemon does not answer" \
        "start it (systemctl start containerd) and stop them, or install.sh --uninstall --force"
    fi
    step "stopping the service"
    stop_service
    for pid in $(running_shims); do does kill -9 "$pid"; done
  fi
  step "removing what was installed"
  if [ $dry = 1 ]; then
    awk -v root="$root" "$path_of"' $1 != "layout" && $1 != "orig" { print "    would remove: " root line }' "$manifest"
  else
    remove_listed
  fi
  if [ $purge = 1 ] && [ -z "$root" ]; then
    step "removing images, containers and state"
    awk '$2 ~ "^/(run|var/lib)/containerd/" { print $2 }' /proc/self/mounts | sort -r | while read -r m; do does umount -l "$m"; done
    does purge_dir /var/lib/containerd
    does purge_dir /run/containerd
    # What "gantry run" keeps; named volumes are people's data and stay.
    for part in containers networks cni; do does purge_dir "/var/lib/gantry/$part"; done
    does rmdir /var/lib/gantry 2> /dev/null || :
    does rm -f "$logfile"
    # The folder of "ctr install", which the engine makes when it starts.
    does rmdir /opt/containerd/bin /opt/containerd/lib /opt/containerd 2> /dev/null || :
  elif [ -z "$root" ] && [ -d /var/lib/containerd ]; then
    say "images and containers are still in /var/lib/containerd; --uninstall --purge removes them too"
  fi
  if [ -z "$root" ] && systemd_runs; then
    does systemctl daemon-reload
    does systemctl reset-failed --quiet containerd.service 2> /dev/null || :
  fi
  say "Packages that were installed (runc, CNI plugins, iptables) stay: other programs may use them."
}
# The folder may be a mount of its own, which stays; other file systems below it are left alone.
purge_dir() {
  [ -d "$1" ] || return 0
  find "$1" -xdev -mindepth 1 -delete || warn "$1 could not be emptied"
  rmdir "$1" 2> /dev/null || :
}
# Takes the manifest backwards: files and links first, folders when they are empty.
remove_listed() {
  copy=$(mktemp)
  cp "$manifest" "$copy"
  while read -r kind detail path; do
    target=$root$path
    case $kind in
      file)
        [ -e "$target" ] || continue
        if [ "$(sum "$target")" = "$detail" ] || [ $purge = 1 ]; then
          rm -f "$target"
        else
          say "    $target was changed since: left there"
        fi
        ;;
      link) if [ -L "$target" ] && [ "$(readlink "$target")" = "$detail" ]; then rm -f "$target"; fi ;;
    esac
  done < "$copy"
  # What had to make way comes back.
  while read -r kind detail path; do
    back=$root${path%.orig}
    if [ "$kind" = orig ] && [ ! -e "$back" ] && [ ! -L "$back" ]; then mv "$root$path" "$back"; fi
  done < "$copy"
  rm -f "$manifest"
  awk '$1 == "dir" { sub(/^dir - /, ""); print }' "$copy" | sort -r | while read -r path; do
    rmdir "$root$path" 2> /dev/null || :
  done
  rm -f "$copy"
}

# --------------------------------------------------------------------------------------------------------------- checks
check_machine() {
  [ "$(uname -s)" = Linux ] || die "this is $(uname -s): the engine runs on Linux only"
  case $(uname -m) in
    x86_64) check_cpu ;;
    aarch64 | arm64) ;;
    *) die "no build for $(uname -m)" "use a machine with an x86-64 (v2 and up) or arm64 processor" ;;
  esac
  if ! grep -qw overlay /proc/filesystems && ! { have modprobe && modprobe -q overlay 2> /dev/null; }; then
    warn "the kernel has no overlay file system: containers will use the slower native snapshotter"
  fi
  if [ -z "$root" ] && ! grep -q ' cgroup2\? ' /proc/self/mounts; then
    warn "no cgroup file system is mounted: containers cannot be limited, and may fail to start"
  fi
}
check_cpu() {
  lacks=
  for flag in sse4_2 popcnt; do
    grep -m 1 '^flags' "${GANTRY_CPUINFO:-/proc/cpuinfo}" | grep -qw "$flag" || lacks="$lacks $flag"
  done
  [ -z "$lacks" ] || die "this processor lacks$lacks: the executable would end with an illegal instruction" \
    "use a processor of x86-64-v2 or newer; in a virtual machine choose the CPU model \"host\" or Nehalem and up"
}
# A daemon that is not ours must not lose its socket under its clients' feet.
check_other_engine() {
  [ -z "$root" ] && [ -S "$socket" ] || return 0
  owner=
  for exe in /proc/[0-9]*/exe; do
    target=$(readlink "$exe" 2> /dev/null) || continue
    case $target in
      */containerd) owner=$target ;;
      */dockerd) owner=$target ;;
    esac
  done
  [ -n "$owner" ] || return 0
  [ "$(readlink -f "$owner")" != "$(readlink -f "$bin/gantry" 2> /dev/null)" ] || return 0
  [ $force = 1 ] || die "another engine is running here: $owner" \
    "stop and disable it first (systemctl disable --now docker containerd), or install.sh --force takes its place"
  warn "another engine is running ($owner); its containers will not be known to this one"
  if systemd_runs; then does systemctl stop containerd.service 2> /dev/null || :; fi
}
version_below() { # version_below A B: A is older than B
  [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}
check_runc() {
  have runc || return 0
  version=$(runc --version 2> /dev/null | sed -n 's/^runc version \([0-9][0-9.]*\).*/\1/p')
  if [ -z "$version" ]; then
    warn "runc does not say its version: $(runc --version 2>&1 | head -n 1)"
    return
  fi
  path=$(command -v runc)
  # A distribution repairs its package without a new upstream version: judge the package, where there is one.
  if have dpkg-query && dpkg-query -S "$(readlink -f "$path")" > /dev/null 2>&1; then
    package=$(dpkg-query -W -f '${Version}' runc 2> /dev/null || :)
    if [ -n "$package" ] && version_below "$version" 1.1.12 && dpkg --compare-versions "$package" lt 1.1.5+ds1-1+deb12u1; then
      warn "runc $package lets a container reach the host (CVE-2024-21626); fix: apt-get install --only-upgrade runc"
    fi
    return
  fi
  if have rpm && package=$(rpm -qf --qf '%{NAME}\n' "$(readlink -f "$path")" 2> /dev/null); then
    if version_below "$version" 1.1.12 && ! rpm -q --changelog "$package" 2> /dev/null | grep -q CVE-2024-21626; then
      warn "$package $version lets a container reach the host (CVE-2024-21626); fix: $(rpm_tool) upgrade $package"
    fi
    return
  fi
  fix="replace $path by 1.2.8, 1.3.3 or newer, or remove it and let the distribution's package take its place"
  if version_below "$version" 1.1.12; then
    warn "runc $version lets a container reach the host (CVE-2024-21626); fix: $fix"
  elif version_below "$version" 1.2.8 || { [ "${version#1.3.}" != "$version" ] && version_below "$version" 1.3.3; }; then
    warn "runc $version can be made to write outside of a container (CVE-2025-31133, -52565, -52881); fix: $fix"
  fi
}

# ------------------------------------------------------------------------------------------------------------- packages
cni_folder() { # the first folder that has the bridge plugin
  for dir in "$root/opt/cni/bin" "$root/usr/lib/cni" "$root/usr/libexec/cni"; do
    if [ -x "$dir/bridge" ]; then
      printf '%s\n' "${dir#"$root"}"
      return
    fi
  done
  return 1
}
install_packages() {
  missing=
  have runc || missing="$missing runc"
  have iptables || missing="$missing iptables"
  cni_folder > /dev/null || missing="$missing containernetworking-plugins"
  if [ "$from" = checkout ]; then
    have node || missing="$missing nodejs"
    have npm || missing="$missing npm"
  fi
  [ -n "$missing" ] || return 0
  step "installing packages:$missing"
  [ -n "$packages" ] || packages=$here/packages
  if [ $dry = 1 ]; then
    say "    would install:$missing"
    return
  fi
  log=$(mktemp)
  # shellcheck disable=SC2086 # a list of names
  if have apt-get; then
    apt_install $missing > "$log" 2>&1 || package_failed
  elif [ -n "$(rpm_tool)" ]; then
    rpm_install $missing > "$log" 2>&1 || package_failed
  else
    die "no apt-get, dnf or yum here" "install$missing by hand, then run this again"
  fi
  rm -f "$log"
}
rpm_tool() { # dnf on every RPM distribution of today, yum before CentOS 8 and where somebody removed dnf's name
  for tool in dnf yum; do
    if have $tool; then
      printf '%s\n' $tool
      return
    fi
  done
}
package_failed() {
  tail -n 15 "$log" >&2
  if grep -qiE 'no match for argument|unable to find a match|no package .* available|no packages? for argument' "$log"; then
    rm -f "$log"
    die "this distribution has no package for one of:$missing" \
      "RHEL 10 and its relatives dropped runc and the CNI plugins: put runc into /usr/local/bin and the plugins into /opt/cni/bin, or give --packages DIR; then run this again"
  fi
  rm -f "$log"
  if [ $offline = 1 ]; then
    die "could not install$missing without the network" "put their .deb or .rpm files into a folder and give --packages DIR"
  fi
  die "could not install$missing" "see the lines above; without a network use --offline --packages DIR"
}
apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  set -- -y -q --no-install-recommends "$@"
  if [ -d "$packages" ]; then
    # A folder of packages may hold more than is needed: let apt choose among them by name.
    lists=$(mktemp -d)
    chmod 755 "$lists"
    index_debs > "$lists/Packages"
    mkdir -p "$lists/state/partial" "$lists/parts"
    printf 'deb [trusted=yes] file:%s ./\n' "$lists" > "$lists/sources.list"
    own="-o Dir::Etc::SourceList=$lists/sources.list -o Dir::Etc::SourceParts=$lists/parts -o Dir::State::Lists=$lists/state -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root"
    # shellcheck disable=SC2086 # options
    apt-get $own -q update && apt-get $own install "$@"
    code=$?
    rm -rf "$lists"
    return $code
  fi
  if [ $offline = 1 ]; then
    apt-get install --no-download "$@"
  else
    # Known package lists are tried first: an update costs time and fails on a machine with old sources.
    apt-get install "$@" || { apt-get -q update && apt-get install "$@"; }
  fi
}
# A Packages index of the .deb files, without the tools of dpkg-dev; links them beside the index.
index_debs() {
  for deb in "$packages"/*.deb; do
    [ -e "$deb" ] || continue
    name=$(basename "$deb")
    ln -s "$(readlink -f "$deb")" "$lists/$name"
    dpkg-deb -f "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$name" "$(stat -L -c %s "$deb")" "$(sum "$deb")"
  done
}
rpm_install() {
  tool=$(rpm_tool)
  names=$*
  set --
  # A folder may have packages of several architectures, and .deb files beside them.
  for file in "$packages"/*."$(uname -m)".rpm "$packages"/*.noarch.rpm; do
    [ ! -e "$file" ] || set -- "$@" "$file"
  done
  # shellcheck disable=SC2086 # a list of names
  if [ $# -gt 0 ]; then
    "$tool" -y install --disablerepo='*' "$@"
  elif [ $offline = 1 ]; then
    "$tool" -y -C install $names
  else
    "$tool" -y install $names
  fi
}

# ---------------------------------------------------------------------------------------------------------------- build
find_source() {
  if [ -f "$here/bin/gantry" ]; then
    from=tarball
    executable=$here/bin/gantry
    files=$here/etc
    unit_source=$files/systemd/system/containerd.service
    config_source=$files/containerd/config.toml
    crictl_source=$files/crictl.yaml
    cni_source=$files/cni/net.d/10-containerd-net.conflist
  elif [ -f "$here/package.json" ] && [ -f "$here/src/main.ts" ]; then
    from=checkout
    executable=$here/dist/gantry
    files=$here/packaging
    unit_source=$files/containerd.service
    config_source=$files/config.toml
    crictl_source=$files/crictl.yaml
    cni_source=$files/10-containerd-net.conflist
  else
    die "neither bin/gantry (a release) nor src/main.ts (a checkout) is beside this script" "unpack the whole tarball and run it from there"
  fi
}
build() {
  [ "$from" = checkout ] || return 0
  step "building the executable (npm ci, npm run build: a few minutes the first time)"
  if [ $dry = 1 ]; then
    say "    would run: npm ci && npm run build in $here"
    return
  fi
  log=$(mktemp)
  lock=$here/node_modules/.package-lock.json
  if [ ! -e "$lock" ] || [ -n "$(find "$here/package-lock.json" -newer "$lock")" ]; then
    [ $offline = 0 ] || die "a checkout cannot be built without the network" "use a release tarball, or run npm ci first"
    (cd "$here" && npm ci --no-audit --no-fund) > "$log" 2>&1 || build_failed "npm ci"
  fi
  (cd "$here" && npm run build) > "$log" 2>&1 || build_failed "npm run build"
  rm -f "$log"
}
build_failed() {
  tail -n 20 "$log" >&2
  rm -f "$log"
  die "$1 failed" "see the lines above"
}

# ------------------------------------------------------------------------------------------------------- layout, start
lay_out() {
  step "installing version $version into $root$prefix"
  changed=0
  if [ $dry = 0 ]; then
    new_dirs=
    dir=$(dirname "$manifest")
    while [ ! -d "$dir" ]; do
      new_dirs="$new_dirs $dir"
      dir=$(dirname "$dir")
    done
    mkdir -p "$(dirname "$manifest")"
    [ -e "$manifest" ] || printf 'layout - %s\n' "$LAYOUT" > "$manifest"
    for dir in $new_dirs; do record dir - "$dir"; done
  fi
  put_file "$executable" "$bin/gantry" 0755
  for name in $links; do put_link gantry "$bin/$name"; done
  work=$(mktemp)
  sed "s#^ExecStart=/usr/local/bin/#ExecStart=$prefix/bin/#" "$unit_source" > "$work"
  put_file "$work" "$unit" 0644
  rm -f "$work"
  put_config "$config_source" "$root/etc/containerd/config.toml"
  put_config "$crictl_source" "$root/etc/crictl.yaml"
  # A network that is configured already stays the network.
  if ! ls "$root"/etc/cni/net.d/*.conf* > /dev/null 2>&1; then
    put_file "$cni_source" "$root/etc/cni/net.d/10-containerd-net.conflist" 0644
  fi
  expose_cni
}
# Clients and other engines look for the plugins in /opt/cni/bin, distributions put them elsewhere.
expose_cni() {
  folder=$(cni_folder) || return 0
  [ "$folder" != /opt/cni/bin ] || return 0
  if [ ! -d "$root/opt/cni/bin" ]; then
    put_link "$folder" "$root/opt/cni/bin"
    return
  fi
  for plugin in "$root$folder"/*; do
    name=$(basename "$plugin")
    [ -e "$root/opt/cni/bin/$name" ] || put_link "$folder/$name" "$root/opt/cni/bin/$name"
  done
}
start_service() {
  if [ $dry = 1 ]; then
    step "would start the engine and run a hello container"
    return
  fi
  if systemd_runs; then
    step "starting containerd.service"
    systemctl daemon-reload
    systemctl enable --quiet containerd.service
    if [ $changed = 1 ] || ! systemctl is-active --quiet containerd.service; then
      systemctl restart containerd.service || start_failed
    fi
  else
    step "starting the engine in the background (no systemd here; its log is $logfile)"
    if pid=$(background_pid) && [ $changed = 1 ]; then stop_service; fi
    if ! background_pid > /dev/null; then
      mkdir -p "$(dirname "$pidfile")" "$(dirname "$logfile")"
      setsid "$bin/containerd" > "$logfile" 2>&1 < /dev/null &
      printf '%s\n' $! > "$pidfile"
    fi
  fi
  tries=0
  until answers; do
    tries=$((tries + 1))
    [ $tries -lt 150 ] || start_failed
    sleep 0.2
  done
}
start_failed() {
  if systemd_runs; then
    systemctl status --no-pager --lines=15 containerd.service >&2 || :
    die "the service did not start" "journalctl -u containerd"
  fi
  tail -n 15 "$logfile" >&2 || :
  die "the engine did not answer on $socket" "look into $logfile"
}
does_not_run() {
  case $said in
    *GLIBC_*) die "this distribution is too old for the executable: $said" "it needs glibc 2.17 and a kernel of 4.18 or newer" ;;
    *) die "$executable does not run here: $said" "take the release for $(uname -m)" ;;
  esac
}
hello() {
  step "running a container from the built-in hello image"
  archive=$(mktemp)
  "$bin/gantry" builtin-image hello > "$archive"
  if ! said=$("$bin/ctr" --address "$socket" images import "$archive" 2>&1); then
    rm -f "$archive"
    die "the hello image could not be imported: $said"
  fi
  rm -f "$archive"
  if systemd_runs; then log="journalctl -u containerd"; else log=$logfile; fi
  "$bin/ctr" --address "$socket" run --rm gantry.local/hello:latest "hello-$$" ||
    die "the hello container did not run" "the engine's log says why: $log"
}
next_steps() {
  service="systemctl status containerd                      "
  systemd_runs || service="less $logfile                         "
  cat << NEXT

Gantry $version is installed and running. Try:
  gantry run -d --name web -p 8080:80 nginx          a web server with a published port; gantry --help has more
  ctr images pull REGISTRY/IMAGE:TAG                 pull an image (--plain-http for a registry without TLS)
  ctr run --rm -t REGISTRY/IMAGE:TAG my-shell sh     a container with a terminal
  ctr images ls; ctr containers ls; ctr tasks ls     what is there
  $service  the service; its configuration is /etc/containerd/config.toml
  $0 --uninstall    removes it again
NEXT
}

# ----------------------------------------------------------------------------------------------------------------- main
if [ $dry = 0 ] && [ "$(id -u)" != 0 ]; then
  die "only root can install" "sudo $0"
fi
if [ $uninstall = 1 ]; then
  remove_all
  [ $dry = 1 ] || say "Gantry is removed."
  exit 0
fi
find_source
check_machine
check_other_engine
[ -n "$root" ] || install_packages
check_runc
build
if [ -x "$executable" ]; then
  said=$("$executable" --version 2>&1) || [ -n "$root" ] || does_not_run
  version=$(printf '%s' "$said" | awk 'NR == 1 { print $2 }')
else
  version=unknown
fi
lay_out
if [ $start = 1 ]; then
  start_service
  if [ $dry = 0 ]; then
    hello
    next_steps
  fi
elif [ $dry = 0 ]; then
  say "Gantry $version is laid out and not started."
fi
