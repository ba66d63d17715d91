// An NRI plugin made with the library that real ones use. It says on stdout what it is told ("event TEXT") and adjusts
// every container in every way the library has. Started by the engine, or with the path of its socket.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

type plugin struct{ stub stub.Stub }

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func (p *plugin) Configure(_ context.Context, config, runtime, version string) (api.EventMask, error) {
	say("configure %s %s %s", config, runtime, version)
	return 0, nil
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, ctrs []*api.Container) ([]*api.ContainerUpdate, error) {
	size := 0
	for _, c := range ctrs {
		size += len(c.Annotations["big"])
	}
	say("synchronize %d %d %d", len(pods), len(ctrs), size)
	return nil, nil
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	say("run-pod %s %s %s", pod.Name, strings.Join(pod.Ips, ","), pod.GetLinux().GetCgroupParent())
	return nil
}

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, over, res *api.LinuxResources) error {
	say("update-pod %s %d", pod.Name, res.GetCpu().GetShares().GetValue())
	return nil
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	say("post-update-pod %s", pod.Name)
	return nil
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	say("stop-pod %s", pod.Name)
	return nil
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	say("remove-pod %s", pod.Name)
	return nil
}

func (p *plugin) CreateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	say("create %s %s %d", c.Name, strings.Join(c.Env, ","), len(c.Annotations["big"]))
	if c.Name == "refused" {
		return nil, nil, fmt.Errorf("go says no")
	}
	a := &api.ContainerAdjustment{}
	a.AddAnnotation("go", "yes")
	a.RemoveAnnotation("gone")
	a.AddMount(&api.Mount{Destination: "/go", Source: "/tmp", Type: "bind", Options: []string{"rbind", "ro"}})
	a.RemoveMount("/data")
	a.AddEnv("GO", "1")
	a.RemoveEnv("OLD")
	a.UpdateArgs([]string{"sh", "-c", "true"})
	a.AddHooks(&api.Hooks{Poststop: []*api.Hook{{Path: "/bin/true", Args: []string{"true"}, Timeout: api.Int(5)}}})
	a.AddRlimit("RLIMIT_NOFILE", 2000, 1000)
	a.AddDevice(&api.LinuxDevice{Path: "/dev/go", Type: "c", Major: 1, Minor: 3, FileMode: api.FileMode(os.FileMode(0o666))})
	a.AddOrReplaceNamespace(&api.LinuxNamespace{Type: "uts", Path: "/proc/1/ns/uts"})
	a.SetLinuxMemoryLimit(1 << 40)
	a.SetLinuxCPUShares(99)
	a.SetLinuxCPUQuota(-1)
	a.SetLinuxCPUSetCPUs("0")
	a.SetLinuxPidLimits(77)
	a.AddLinuxUnified("memory.high", "max")
	a.SetLinuxCgroupsPath("/go/path")
	score := 500
	a.SetLinuxOomScoreAdj(&score)
	a.SetLinuxSysctl("net.core.somaxconn", "64")
	a.SetLinuxSeccompPolicy(&api.LinuxSeccomp{DefaultAction: "SCMP_ACT_ALLOW", Syscalls: []*api.LinuxSyscall{{Names: []string{"reboot"}, Action: "SCMP_ACT_ERRNO", ErrnoRet: api.UInt32(uint32(1))}}})
	u := &api.ContainerUpdate{ContainerId: "c0"}
	u.SetLinuxCPUSetCPUs("1")
	u.SetIgnoreFailure()
	return a, []*api.ContainerUpdate{u}, nil
}

func (p *plugin) PostCreateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	say("post-create %s", c.Name)
	return nil
}

func (p *plugin) StartContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	say("start %s", c.Name)
	return nil
}

func (p *plugin) PostStartContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	say("post-start %s", c.Name)
	return nil
}

func (p *plugin) UpdateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container, r *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	say("update %s %d", c.Name, r.GetMemory().GetLimit().GetValue())
	u := &api.ContainerUpdate{}
	u.SetContainerId(c.Id)
	u.SetLinuxCPUSetMems("0")
	return []*api.ContainerUpdate{u}, nil
}

func (p *plugin) PostUpdateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	say("post-update %s", c.Name)
	return nil
}

func (p *plugin) StopContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) ([]*api.ContainerUpdate, error) {
	say("stop %s %d", c.Name, c.ExitCode)
	// by itself, while the engine waits for the answer
	failed, err := p.stub.UpdateContainers([]*api.ContainerUpdate{{ContainerId: "c0"}})
	say("updated %d %v", len(failed), err)
	return nil, nil
}

func (p *plugin) RemoveContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	say("remove %s", c.Name)
	return nil
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, r *api.ValidateContainerAdjustmentRequest) error {
	owner, _ := r.Owners.EnvOwner(r.Container.Id, "GO")
	say("validate %s", owner)
	return nil
}

func main() {
	p := &plugin{}
	var opts []stub.Option
	if len(os.Args) > 1 {
		opts = append(opts, stub.WithPluginName("go"), stub.WithPluginIdx("10"), stub.WithSocketPath(os.Args[1]))
	}
	s, err := stub.New(p, opts...)
	if err == nil {
		p.stub = s
		err = s.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
