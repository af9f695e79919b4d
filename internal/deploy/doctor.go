package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
)

// Finding is one thing that was looked at.
type Finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"` // what to do; empty when all is well
}

// Least amounts with which a first database works.
const (
	leastRAMMB  = 1024
	leastDiskMB = 4096
)

// Examined is what Examine asks of the container runtime.
type Examined interface {
	Capacity(ctx context.Context) (cpus float64, ramMB int, engine string, err error)
	Inspect(ctx context.Context, name string) (runtime.State, error)
	ListVolumes(ctx context.Context, labels map[string]string) ([]runtime.Volume, error)
}

// Examine looks at this host and at the deployment on it. It changes nothing. unreachable is why there is no engine.
func Examine(ctx context.Context, p Plane, engine Examined, unreachable error) []Finding {
	found := []Finding{
		root(), program("iptables", "apt-get install iptables"), program("iptables-restore", "apt-get install iptables"), forwarding(),
		space(p.DataDir), private(p.DataDir),
	}
	if unreachable != nil {
		mend := "install and start it: apt-get install docker.io; systemctl start docker; without systemd: dockerd &"
		if os.Geteuid() != 0 {
			mend = "run it with sudo; if it is not that, " + mend
		}
		return append(found, Finding{Check: "Docker engine", Detail: unreachable.Error(), Mend: mend})
	}
	rules, rulesErr := rules(ctx)
	found = append(found, capacity(ctx, engine)...)
	found = append(found, chain(rules, rulesErr, p), backend(ctx))
	plane, runs := planeState(ctx, engine, p)
	found = append(found, plane...)
	if runs && rulesErr == nil {
		found = append(found, firewall(rules, p))
	}
	return append(found, volumes(ctx, engine, p)...)
}

func judge(check string, ok bool, detail, mend string) Finding {
	if ok {
		mend = ""
	}
	return Finding{Check: check, OK: ok, Detail: detail, Mend: mend}
}

func root() Finding {
	uid := os.Geteuid()
	return judge("root", uid == 0, fmt.Sprintf("running as uid %d", uid), "run it with sudo: Docker's socket and iptables are root's")
}

func program(name, mend string) Finding {
	path, err := exec.LookPath(name)
	if err != nil {
		return judge(name, false, "not found", mend)
	}
	return judge(name, true, path, "")
}

func forwarding() Finding {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	on := err == nil && strings.TrimSpace(string(data)) == "1"
	return judge("IP forwarding", on, "net.ipv4.ip_forward="+strings.TrimSpace(string(data)), "sysctl -w net.ipv4.ip_forward=1 (Docker does so when it starts)")
}

func space(dir string) Finding {
	for dir != "/" {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return judge("disk space", false, err.Error(), "check the disk")
	}
	free := fs.Bavail * uint64(fs.Bsize) >> 20 //nolint:gosec // a block size is positive
	return judge("disk space", free >= leastDiskMB, fmt.Sprintf("%d MB free below %s", free, dir), fmt.Sprintf("make room: at least %d MB", leastDiskMB))
}

func private(dir string) Finding {
	i, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return judge("data directory", true, dir+" is made by huker up", "")
	}
	if err != nil {
		return judge("data directory", false, err.Error(), "check the disk")
	}
	return judge("data directory", i.Mode().Perm()&0o077 == 0, fmt.Sprintf("%s has mode %04o", dir, i.Mode().Perm()), "chmod 700 "+dir+": it holds keys")
}

func capacity(ctx context.Context, e Examined) []Finding {
	cpus, ram, name, err := e.Capacity(ctx)
	if err != nil {
		return []Finding{judge("Docker engine", false, err.Error(), "look at its log: journalctl -u docker")}
	}
	return []Finding{
		judge("Docker engine", true, name, ""),
		judge("memory", ram >= leastRAMMB, fmt.Sprintf("%d MB, %g cores", ram, cpus), fmt.Sprintf("a database takes 512 MB and more: at least %d MB are needed", leastRAMMB)),
	}
}

// rules gives what iptables has, a rule a line.
func rules(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "iptables", "-w", "5", "-S").Output()
	return strings.Split(strings.TrimSpace(string(out)), "\n"), err
}

// chain: without DOCKER-USER Huker's own chain is asked by FORWARD, which is as good.
func chain(rules []string, err error, p Plane) Finding {
	const check = "chain DOCKER-USER"
	switch {
	case err != nil:
		return judge(check, false, "iptables does not list its rules: "+err.Error(), "run it as root; load the kernel's nf_tables")
	case slices.Contains(rules, "-N DOCKER-USER"):
		return judge(check, true, "Docker asks it first for what is forwarded", "")
	case slices.Contains(rules, "-A FORWARD -j "+network.ChainName(p.Name)):
		return judge(check, true, "is not there; Huker's chain is asked without it", "")
	}
	return judge(check, false, "is not there",
		"dockerd runs with --iptables=false, or its rules were flushed: restart it, or containers do not reach databases, nor anything else")
}

// firewall: while the control plane runs, its chain is asked for all that is forwarded, and ends with a refusal.
func firewall(rules []string, p Plane) Finding {
	name := network.ChainName(p.Name)
	viaDocker := slices.Contains(rules, "-A DOCKER-USER -j "+name) && slices.Contains(rules, "-A FORWARD -j DOCKER-USER")
	count, refuses := 0, false
	for _, r := range rules {
		if strings.HasPrefix(r, "-A "+name+" ") {
			count++
			refuses = strings.HasSuffix(r, " -j DROP")
		}
	}
	mend := "the control plane puts it back within ten seconds: look again; else docker logs " + p.container()
	switch {
	case count == 0:
		return judge("firewall", false, "chain "+name+" is empty or not there: it is not held back who may not reach databases", mend)
	case !viaDocker && !slices.Contains(rules, "-A FORWARD -j "+name):
		return judge("firewall", false, "chain "+name+" is asked by nobody: it is not held back who may not reach databases", mend)
	}
	return judge("firewall", refuses, fmt.Sprintf("chain %s, %d rules", name, count), mend)
}

// backend: the host's iptables and the one in the control plane's container must speak of the same rules.
func backend(ctx context.Context) Finding {
	out, err := exec.CommandContext(ctx, "iptables", "--version").Output()
	if err != nil {
		return judge("iptables backend", false, "iptables does not run: "+err.Error(), "apt-get install --reinstall iptables")
	}
	text := strings.TrimSpace(string(out))
	return judge("iptables backend", strings.Contains(text, "nf_tables"), text,
		"the control plane uses nf_tables: update-alternatives --set iptables /usr/sbin/iptables-nft, and restart Docker")
}

// planeState also reports whether the control plane runs.
func planeState(ctx context.Context, e Examined, p Plane) (found []Finding, runs bool) {
	s, err := e.Inspect(ctx, p.container())
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		return []Finding{judge("control plane", false, "there is no container "+p.container(), "huker up")}, false
	case err != nil:
		return []Finding{judge("control plane", false, err.Error(), "remove or rename what has its name")}, false
	case s.Phase != runtime.PhaseRunning:
		return []Finding{judge("control plane", false, fmt.Sprintf("%s (exit code %d)", s.Phase, s.ExitCode), "docker logs "+p.container()+"; then huker up")}, false
	}
	found = []Finding{judge("control plane", true, "running since "+s.Started.Format("2006-01-02 15:04:05Z"), "")}
	herr := healthy(ctx, p.Health)
	detail := p.Health + " answers"
	if herr != nil {
		detail = herr.Error()
	}
	return append(found, judge("API", herr == nil, detail, "docker logs "+p.container())), true
}

// volumes finds data that no instance has any more.
func volumes(ctx context.Context, e Examined, p Plane) []Finding {
	all, err := e.ListVolumes(ctx, nil)
	if err != nil {
		return nil
	}
	var found []Finding
	for _, v := range all {
		id := v.Labels["io.huker.instance"]
		if _, err := os.Stat(filepath.Join(p.DataDir, "guests", id, "ensure.json")); err == nil || id == "" {
			continue
		}
		found = append(found, judge("volume", false, v.Name+" belongs to no instance",
			"if its data is not needed: docker volume rm "+v.Name))
	}
	return found
}
