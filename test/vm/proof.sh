#!/bin/bash
# proof.sh PHASE, in the guest: what an operator does on a fresh machine. PHASE is "first", "limits" (resources in cgroup v2 by
# both cgroup drivers), "checkpoint" (with the real CRIU), "clock" (it jumps) or "after-reboot"; /root/t has the tarball, crictl pod files are written here. One line per step; ends with "PHASE: N failed".
# shellcheck disable=SC1091,SC2016,SC2317 # scripts for containers, functions called by name
set -u
phase=${1:?phase}
fail=0
mkdir -p /root/t
cd /root/t || exit 1
now() { date +%s%N; }
step() { # step NAME CMD...: runs it, tells time and outcome
  local name=$1 began rc out
  shift
  began=$(now)
  out=$("$@" 2>&1)
  rc=$?
  printf '%-52s %s %6d ms\n' "$name" "$([ $rc = 0 ] && echo ok || echo FAILED)" $((($(now) - began) / 1000000))
  if [ $rc != 0 ]; then
    fail=$((fail + 1))
    printf '%s\n' "$out" | tail -n 15 | sed 's/^/    /'
  fi
}
want() { # want PATTERN CMD...: the output has it
  local pattern=$1 out
  shift
  out=$("$@" 2>&1) || { printf '%s\n' "$out"; return 1; }
  printf '%s\n' "$out" | grep -Eq -- "$pattern" || { printf 'want %s in:\n%s\n' "$pattern" "$out"; return 1; }
}
eventually() { # eventually CMD...: for a minute or more
  local out=
  for _ in $(seq 60); do
    out=$("$@" 2>&1) && return 0
    sleep 1
  done
  printf '%s\n' "$out"
  return 1
}
get() { # get ADDRESS PORT: what a web server answers; the machine has no curl
  timeout 10 bash -c 'exec 3<> "/dev/tcp/$1/$2"; printf "GET / HTTP/1.0\r\n\r\n" >&3; cat <&3' - "$1" "$2"
}
files() { find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log -o -path /root -o -path /var/lib/systemd -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/tmp \) -prune -o -print | sort; }
IMAGE=10.0.2.100:5000/test/busybox:latest

if [ "$phase" = first ]; then
  # a machine without KVM is slow: systemd's patience is for others
  mkdir -p /etc/systemd/system.conf.d
  printf '[Manager]\nDefaultTimeoutStartSec=15min\nDefaultTimeoutStopSec=15min\n' > /etc/systemd/system.conf.d/slow.conf
  systemctl daemon-reexec
  echo "== $(. /etc/os-release; echo "$PRETTY_NAME"), $(uname -r), cgroup $(stat -fc %T /sys/fs/cgroup), AppArmor $(cat /sys/module/apparmor/parameters/enabled 2> /dev/null), $(systemctl --version | head -n 1)"
  step "unpack the tarball" sh -c "mkdir -p gantry && tar -xzf gantry.tar.gz -C gantry"
  # the packages that the installer brings stay; what is compared is what it lays out itself
  apt-get -qq -y install runc containernetworking-plugins iptables criu > /dev/null 2>&1
  # only one phase has it: containers of a machine that can checkpoint get other streams
  mv /usr/sbin/criu /usr/sbin/criu.off
  files > before.txt
  step "install.sh --offline (starts the service, runs hello)" ./gantry/install.sh --offline --packages /var/debs
  step "the service is active and enabled" sh -c 'systemctl is-active containerd && systemctl is-enabled containerd'
  step "ctr version" want 'Server:' ctr version
  step "pull from a registry" ctr images pull --plain-http $IMAGE
  step "run --rm" want '^hello from a container$' ctr run --rm $IMAGE c1 echo 'hello from a container'
  step "memory limit in cgroup v2" want '^67108864$' sh -c "ctr run -d --memory-limit 67108864 $IMAGE c2 sleep 1000 && cat /sys/fs/cgroup/default/c2/memory.max"
  step "kill and remove it" sh -c 'ctr tasks rm -f c2 && ctr containers rm c2'
  step "AppArmor profile of the engine" want 'cri-containerd.apparmor.d \(enforce\)|gantry.* \(enforce\)' ctr run --rm --apparmor-default-profile cri-containerd.apparmor.d $IMAGE c3 cat /proc/self/attr/current

  mkdir -p /etc/cni/net.d
  cat > /etc/cni/net.d/10-b.conflist <<'E'
{"cniVersion":"1.0.0","name":"b","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"ipam":{"type":"host-local","subnet":"10.88.0.0/24","routes":[{"dst":"0.0.0.0/0"}]}},{"type":"portmap","capabilities":{"portMappings":true}}]}
E
  mkdir -p /etc/containerd/conf.d
  cat > /etc/containerd/conf.d/10-systemd.toml <<'E'
version = 3
[plugins."io.containerd.cri.v1.runtime"]
  disable_hugetlb_controller = false
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = true
E
  step "run -d, then restart the daemon under it" sh -c "ctr run -d $IMAGE live sleep 100000 && systemctl restart containerd"
  step "the container lives on" eventually want 'live +[0-9]+ +RUNNING' ctr tasks ls
  step "exec after the restart" want '^still here$' ctr tasks exec --exec-id e1 live echo 'still here'
  ctr tasks kill -s KILL live > /dev/null 2>&1
  eventually sh -c 'ctr tasks ls | grep -q "live.*STOPPED"'
  step "remove it" sh -c 'ctr tasks rm live; ctr containers rm live'

  cat > pod.json <<'E'
{"metadata":{"name":"p","namespace":"default","uid":"u1","attempt":1},"hostname":"podhost","log_directory":"/tmp/pods","linux":{"cgroup_parent":"kubepods-test.slice"},"port_mappings":[{"protocol":0,"container_port":80,"host_port":18080}]}
E
  cat > con.json <<E
{"metadata":{"name":"c"},"image":{"image":"$IMAGE"},"command":["/bin/sh","-c","echo started; mkdir -p /w; echo from the pod > /w/index.html; exec httpd -f -p 80 -h /w"],"log_path":"c.log","linux":{"resources":{"memory_limit_in_bytes":67108864,"cpu_quota":50000,"cpu_period":100000},"security_context":{"apparmor":{"profile_type":0}}}}
E
  step "crictl with time for a slow machine" crictl config --set timeout=180
  step "pull through CRI's registry configuration" sh -c "mkdir -p /etc/containerd/certs.d/10.0.2.100:5000 && printf 'server = \"http://10.0.2.100:5000\"\n' > /etc/containerd/certs.d/10.0.2.100:5000/hosts.toml && crictl pull $IMAGE"
  step "runp" sh -c 'crictl runp pod.json > pod.id'
  step "create" sh -c 'crictl create $(cat pod.id) con.json pod.json > con.id'
  step "start" sh -c 'crictl start $(cat con.id)'
  step "systemd scope of the container" want 'kubepods-test.slice/cri-containerd-[0-9a-f]+.scope' sh -c 'cat /proc/$(crictl inspect -o go-template --template "{{.info.pid}}" $(cat con.id))/cgroup'
  step "limits in cgroup v2" want '^67108864 50000 100000$' sh -c 'g=/sys/fs/cgroup$(cut -d: -f3 /proc/$(crictl inspect -o go-template --template "{{.info.pid}}" $(cat con.id))/cgroup); echo $(cat $g/memory.max $g/cpu.max)'
  step "AppArmor inside the pod" want 'cri-containerd.apparmor.d \(enforce\)' sh -c 'crictl exec $(cat con.id) cat /proc/self/attr/current'
  step "address of the pod" want '10\.88\.0\.' sh -c 'crictl exec $(cat con.id) ip -4 addr show eth0'
  step "exec, hostname" want '^podhost$' sh -c 'crictl exec $(cat con.id) hostname'
  step "logs" want '^started$' sh -c 'crictl logs $(cat con.id)'
  step "stats" want '[0-9]' sh -c 'crictl stats $(cat con.id)'
  step "published port of the pod" eventually want 'from the pod' get 10.88.0.1 18080
  step "gantry run -d --restart always -p 8080:80" gantry run -d --name web --restart always -p 8080:80 $IMAGE sh -c 'mkdir -p /w; echo from gantry run > /w/index.html; exec httpd -f -p 80 -h /w'
  step "its published port" eventually want 'from gantry run' get 10.0.2.15 8080
  step "gantry status and doctor" sh -c 'gantry status && gantry doctor'
  sync
fi

# One pod whose containers are limited, killed for memory and changed, by the driver that the configuration names.
limits() { # limits DRIVER CGROUP_PARENT PATTERN: PATTERN is of the container's cgroup
  local driver=$1
  sed -e "s/\"name\":\"p\"/\"name\":\"limits-$driver\"/" -e "s/\"uid\":\"u1\"/\"uid\":\"limits-$driver\"/" -e "s#\"cgroup_parent\":\"[^\"]*\"#\"cgroup_parent\":\"$2\"#" \
    -e 's/,"port_mappings":.*/}/' pod.json > lpod.json
  cat > lcon.json <<E
{"metadata":{"name":"l"},"image":{"image":"$IMAGE"},"command":["/bin/sh","-c","dd if=/dev/zero of=/dev/shm/f bs=1M count=8 2> /dev/null; exec sleep 100000"],"linux":{"resources":{"memory_limit_in_bytes":67108864,"cpu_quota":50000,"cpu_period":100000,"cpu_shares":512,"cpuset_cpus":"0","hugepage_limits":[{"page_size":"2MB","limit":4194304}],"unified":{"pids.max":"40","memory.high":"60002304"}}}}
E
  cat > oom.json <<E
{"metadata":{"name":"oom"},"image":{"image":"$IMAGE"},"command":["/bin/sh","-c","exec tail /dev/zero"],"linux":{"resources":{"memory_limit_in_bytes":33554432}}}
E
  step "$driver: a pod with a limited container" sh -c 'crictl runp lpod.json > lpod.id && crictl create $(cat lpod.id) lcon.json lpod.json > l.id && crictl start $(cat l.id)'
  step "$driver: its cgroup" want "$3" sh -c 'cut -d: -f3 /proc/$(crictl inspect -o go-template --template "{{.info.pid}}" $(cat l.id))/cgroup | tee l.cgroup'
  step "$driver: memory, cpu, cpuset, pids, huge pages" want '^67108864 60002304 50000 100000 (20|59) 0 40 4194304$' sh -c 'cd /sys/fs/cgroup$(cat l.cgroup) && echo $(cat memory.max memory.high cpu.max cpu.weight cpuset.cpus pids.max hugetlb.2MB.max)'
  step "$driver: stats" sh -c 'crictl stats -o json $(cat l.id) | tr -d " \n" > l.stats; n() { grep -oE "\"$1\":\{\"value\":\"?[0-9]+" l.stats | head -n 1 | grep -oE "[0-9]+$"; }; echo "memory $(n workingSetBytes) cpu $(n usageCoreNanoSeconds)"; cat l.stats; [ "$(n workingSetBytes)" -ge 8388608 ] && [ "$(n workingSetBytes)" -le 67108864 ] && [ "$(n usageCoreNanoSeconds)" -gt 0 ]'
  step "$driver: update" want '^100663296 20000 100000$' sh -c 'crictl update --memory 100663296 --cpu-quota 20000 --cpu-period 100000 $(cat l.id) && cd /sys/fs/cgroup$(cat l.cgroup) && echo $(cat memory.max cpu.max)'
  step "$driver: a container that eats memory" sh -c 'crictl create $(cat lpod.id) oom.json lpod.json > oom.id && crictl start $(cat oom.id)'
  step "$driver: ends as OOMKilled, 137" eventually want '^OOMKilled 137$' crictl inspect -o go-template --template '{{.status.reason}} {{.status.exitCode}}' "$(cat oom.id)"
  step "$driver: the pod goes, with its cgroup" sh -c 'crictl rmp -f $(cat lpod.id) && [ ! -e /sys/fs/cgroup$(cat l.cgroup) ]'
}

if [ "$phase" = limits ]; then
  ctr -n k8s.io events > events.txt 2>&1 &
  events=$!
  limits systemd kubepods-limits.slice 'kubepods-limits.slice/cri-containerd-[0-9a-f]+.scope'
  step "an event told of the memory" eventually want '/tasks/oom' cat events.txt
  kill $events
  sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' /etc/containerd/conf.d/10-systemd.toml
  step "the other cgroup driver" systemctl restart containerd
  limits cgroupfs /kubepods-limits '^/kubepods-limits/[0-9a-f]{64}$'
  step "ctr run with limits, its metrics" want 'pids.current' sh -c "ctr run -d --memory-limit 67108864 --cpus 0.5 $IMAGE m sleep 1000 && grep -x '50000 100000' /sys/fs/cgroup/default/m/cpu.max && ctr tasks metrics m && ctr tasks rm -f m && ctr containers rm m"
  sed -i 's/SystemdCgroup = false/SystemdCgroup = true/' /etc/containerd/conf.d/10-systemd.toml
  step "and back" systemctl restart containerd
  rmdir /sys/fs/cgroup/kubepods-limits 2> /dev/null
fi

# A process that tells when it was started and counts in its memory: both go on in a restored one.
if [ "$phase" = checkpoint ]; then
  mv /usr/sbin/criu.off /usr/sbin/criu
  step "criu check" criu check
  count='read t _ < /proc/uptime; i=0; while :; do i=$((i+1)); echo $t $i > /n; sleep 1; done'
  told() { ctr tasks exec --exec-id "x$(now)" "$1" cat /n; }
  goes_on() { # goes_on ID START FROM: of the same start, and further
    local start n
    read -r start n < <(told "$1")
    printf '%s %s\n' "$start" "$n"
    [ "$start" = "$2" ] && [ "$n" -gt "$3" ]
  }
  step "a container that counts" ctr run -d $IMAGE counter sh -c "$count"
  eventually want '^[0-9.]+ [0-9]{2,}$' told counter
  step "checkpoint into a folder, it runs on" sh -c 'ctr tasks checkpoint --image-path /root/t/ck counter && ls /root/t/ck/pages-1.img && ctr tasks ls | grep -q "counter.*RUNNING"'
  step "checkpoint with image and files" ctr containers checkpoint --image --rw --task counter ck/counter:1
  read -r start from < <(told counter)
  step "remove it" sh -c 'ctr tasks rm -f counter; ctr containers rm counter'
  ctr containers restore --rw --live again ck/counter:1 > restore.txt 2>&1 &
  step "restored, the process goes on" eventually goes_on again "$start" "$from"
  step "in a cgroup of its own" want '/again$' sh -c "cat /proc/\$(ctr tasks ls | awk '\$1 == \"again\" { print \$2 }')/cgroup"
  # CRIU gives up when a process of the container ends just then
  step "checkpoint of what was restored" eventually ctr containers checkpoint --image --rw --task again ck/again:1
  read -r start from < <(told again)
  ctr tasks kill -s KILL again > /dev/null 2>&1
  wait
  ctr containers restore --rw --live third ck/again:1 > restore.txt 2>&1 &
  step "restored once more, the process goes on" eventually goes_on third "$start" "$from"
  ctr tasks kill -s KILL third > /dev/null 2>&1
  wait
  step "a container to be ended" ctr run -d $IMAGE last sh -c "$count"
  step "checkpoint --exit ends it" eventually ctr tasks checkpoint --exit --image-path /root/t/ck2 last
  step "it has ended" eventually want '^last +[0-9]+ +STOPPED' ctr tasks ls
  ctr tasks rm last > /dev/null 2>&1
  step "remove it and its image" sh -c 'ctr containers rm again third last && ctr images rm ck/counter:1 ck/again:1'
  step "a pod's container that counts" sh -c "sed -e 's/\"name\":\"p\"/\"name\":\"ck\"/' -e 's/\"uid\":\"u1\"/\"uid\":\"ck\"/' -e 's/,\"port_mappings\":.*/}/' pod.json > ckpod.json && crictl runp ckpod.json > ckpod.id && crictl create \$(cat ckpod.id) con.json ckpod.json > ck.id && crictl start \$(cat ck.id)"
  step "crictl checkpoint" sh -c 'crictl checkpoint --export=/root/t/ck.tar $(cat ck.id) && tar -tf ck.tar | grep -x checkpoint/pages-1.img && tar -tf ck.tar | grep -x rootfs-diff.tar'
  step "it runs on" sh -c 'crictl exec $(cat ck.id) true && crictl rmp -f $(cat ckpod.id)'
  mv /usr/sbin/criu /usr/sbin/criu.off
fi

# The clock jumps by hours and years under what runs; what is asked then has the time of another day.
if [ "$phase" = clock ]; then
  # comes up again when its process is killed
  comes_back() {
    local before
    before=$(ctr tasks ls | awk '$1 == "again" { print $2 }')
    kill -9 "$before" || return 1
    eventually sh -c "ctr tasks ls | grep -E '^again +[0-9]+ +RUNNING' | grep -qv ' $before '"
  }
  step "a lease of a day" ctr leases create --id day -x 24h
  step "a container to be kept running" ctr run -d --restart always $IMAGE again sleep 100000
  step "a pod that logs" sh -c "sed -e 's/\"name\":\"p\"/\"name\":\"clock\"/' -e 's/\"uid\":\"u1\"/\"uid\":\"clock\"/' -e 's/,\"port_mappings\":.*/}/' pod.json > clpod.json && sed -e 's/echo started;.*-h \/w/while :; do echo tick; sleep 1; done/' con.json > clcon.json && crictl runp clpod.json > clpod.id && crictl create \$(cat clpod.id) clcon.json clpod.json > cl.id && crictl start \$(cat cl.id)"
  # beyond 2038, and before this program was made
  for jump in 3600 -7200 473040000 -473032800 -473040000 473043600; do
    date -s "@$(($(date +%s) + jump))" > /dev/null
    echo "-- the clock jumped by $jump s: $(date -u +%FT%TZ)"
    # fifteen years on it is over, as its label says
    [ ${#jump} -gt 5 ] || step "the lease holds, also after a collection" sh -c 'ctr leases rm --sync "$(ctr leases create)" > /dev/null && ctr leases ls -q | grep -qx day'
    step "run --rm" want '^hello$' ctr run --rm $IMAGE clock echo hello
    step "pull" sh -c "ctr images rm --sync $IMAGE > /dev/null; ctr images pull --plain-http $IMAGE"
    step "what is killed comes back" comes_back
    step "the log goes on" sh -c 'a=$(crictl logs $(cat cl.id) | wc -l); sleep 3; b=$(crictl logs $(cat cl.id) | wc -l); echo $a $b; [ "$b" -gt "$a" ]'
    step "exec, stats" sh -c 'crictl exec $(cat cl.id) true && crictl stats $(cat cl.id)'
    step "the daemon starts" systemctl restart containerd
    step "everything lives on" sh -c 'ctr tasks ls | grep -E "^again .*RUNNING" && crictl ps -q --no-trunc | grep -qx "$(cat cl.id)"'
  done
  step "remove them" sh -c 'crictl rmp -f $(cat clpod.id); ctr tasks rm -f again; ctr containers rm again; ctr leases rm day 2> /dev/null || true'
fi

if [ "$phase" = after-reboot ]; then
  step "the service is back" eventually systemctl is-active containerd
  step "images are there" want "$IMAGE" ctr images ls -q
  step "the restarted container serves again" eventually want 'from gantry run' get 10.0.2.15 8080
  step "the pod of before is not ready" want 'NotReady' crictl pods
  step "it can be removed" sh -c 'crictl rmp -f $(cat pod.id)'
  step "and made again" sh -c 'crictl runp pod.json > pod2.id && crictl create $(cat pod2.id) con.json pod.json > con2.id && crictl start $(cat con2.id)'
  step "it answers" eventually want 'from the pod' get 10.88.0.1 18080
  step "remove everything" sh -c 'crictl rmp -af && gantry rm -f web'
  step "no veth, no network namespace but the spare one" sh -c 'ip -o link | grep -c veth | grep -qx 0 && [ "$(ls /run/netns 2> /dev/null | wc -l)" -le 1 ]'
  step "doctor finds nothing" gantry doctor
  rm -rf /etc/cni/net.d/10-b.conflist /etc/containerd/conf.d /etc/containerd/certs.d /tmp/pods
  rmdir /etc/cni/net.d /etc/cni 2> /dev/null
  step "install.sh --uninstall --purge" ./gantry/install.sh --uninstall --purge
  files > after.txt
  step "nothing is left of it" sh -c 'diff before.txt after.txt | grep -vE "^[0-9,acd]+$|/var/lib/cni|/etc/.*\.cache|/opt/cni|/var/lib/kubelet|/etc/cni" | grep "^[<>]" && exit 1 || exit 0'
fi
echo "$phase: $fail failed"
exit $fail
