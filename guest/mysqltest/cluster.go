package mysqltest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/huker/huker/guest/mycnf"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/testenv"
)

// Member is a server of a cluster. Its configuration is a guest's own, and it boots shut, as a guest does.
type Member struct {
	*Server
	Instance string // a UUID
	Address  string // in the cluster's network, at port 3306; this side reaches it, too
	Inside   paths.Paths
	Outside  paths.Paths // the same files on this side
}

// memberScript waits for the certificate, which is for the container's address. While the file "down" is there, mysqld is not started. As with the supervisor,
// mysqld may end to be started again, and starts with the init file if there is one.
const memberScript = `until [ -e /shared/go ]; do sleep 0.02; done
cp -r /usr/share/huker/template /shared/var/lib/mysql/data && rm -f /shared/var/lib/mysql/data/auto.cnf && chmod 777 /shared/var/lib/mysql/data
touch /tmp/on
(sleep 1200; rm /tmp/on; kill -9 $(cat /tmp/mysqld.pid)) &
while [ -e /tmp/on ]; do
  while [ -e /shared/down ]; do sleep 0.02; done
  rm -f /shared/huker/run/mysqld.sock /shared/huker/run/mysqld.sock.lock
  init=; if [ -e /shared/var/lib/mysql/huker/init.sql ]; then init=--init-file=/shared/var/lib/mysql/huker/init.sql; fi
  MYSQLD_PARENT_PID=$$ mysqld --defaults-file=/shared/huker/run/my.cnf $init &
  echo $! > /tmp/mysqld.pid
  wait $!
  echo $? >> /shared/exits
done`

// StartMembers starts n servers in a Docker network of their own, with certificates of one authority that are good for servers and clients. It does not wait until
// they answer. Each prepare is given the directory that is to be a member's volume, before anything is in it.
func StartMembers(t TB, n int, prepare ...func(i int, volume string) error) []*Member {
	t.Helper()
	image := Image(t)
	ca, err := pki.NewCA("huker cluster test")
	if err != nil {
		t.Fatalf("%v", err)
	}
	network := &Server{name: "huker-mysqltest-" + strings.ToLower(rand.Text()[:10])}
	t.Cleanup(func() { _, _ = network.docker("network", "rm", network.name) })
	done, err := testenv.HostRules(false)
	if err != nil {
		t.Fatalf("%v", err)
	}
	out, err := network.docker("network", "create", "--label", "huker.test=mysqltest", network.name)
	done()
	if err != nil {
		t.Fatalf("docker network create: %v: %s", err, out)
	}
	members := make([]*Member, n)
	for i := range members {
		m, err := startMember(t, ca, image, network.name, i, prepare)
		if err != nil {
			t.Fatalf("start a member: %v", err)
		}
		members[i] = m
	}
	return members
}

func startMember(t TB, ca *pki.CA, image, network string, i int, prepare []func(int, string) error) (*Member, error) {
	dir, err := os.MkdirTemp("", "hm") // short: a socket's path has at most 107 bytes
	if err != nil {
		return nil, err
	}
	m := &Member{
		Server: &Server{Dir: dir, name: fmt.Sprintf("%s-%d", network, i)}, Instance: newInstance(), Inside: paths.Under("/shared"), Outside: paths.Under(dir),
	}
	t.Cleanup(func() {
		_, _ = m.Exec("bash", "-c", "rm -rf /shared/var/lib/mysql/*") // they are another user's
		_, _ = m.docker("rm", "-f", m.name)
		_ = os.RemoveAll(dir)
	})
	p := m.Outside
	if err := os.MkdirAll(p.Volume, 0o777); err != nil { // #nosec G301 -- mysqld in the container has another uid
		return nil, err
	}
	for _, f := range prepare {
		if err := f(i, p.Volume); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{dir, p.Etc, p.Run, p.Volume, p.Tmp(), p.Log(), p.State()} {
		if err := os.MkdirAll(d, 0o777); err != nil { // #nosec G301 -- mysqld in the container has another uid
			return nil, err
		}
		if err := os.Chmod(d, 0o777); err != nil { // #nosec G302 -- as above
			return nil, err
		}
	}
	if out, err := m.docker("run", "-d", "--rm", "--name", m.name, "--network", network, "--user", "999:999", "--label", "huker.test=mysqltest",
		"-v", dir+":/shared", "--entrypoint", "bash", image, "-c", memberScript); err != nil {
		return nil, fmt.Errorf("docker run: %w: %s", err, out)
	}
	out, err := m.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", m.name)
	if err != nil {
		return nil, fmt.Errorf("docker inspect: %w: %s", err, out)
	}
	m.Address = strings.TrimSpace(string(out))
	return m, m.configure(ca, uint32(i+1)) // #nosec G115 -- small
}

// configure writes what mysqld starts with, and has it start.
func (m *Member) configure(ca *pki.CA, id uint32) error {
	pair, err := ca.IssueProcess(m.Instance, m.Address)
	if err != nil {
		return err
	}
	text, err := mycnf.Generate(mycnf.Input{
		Version: "9.7.4", MemoryMB: 512, CPUs: 1, VolumeGB: 2, ServerID: id, Paths: m.Inside, TLS: true, PluginDir: "/usr/lib/mysql/plugin", Plugins: mycnf.Wanted(),
	})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		m.Outside.Secret(paths.FileCA): ca.CertPEM(), m.Outside.Secret(paths.FileServerCert): pair.Cert, m.Outside.Secret(paths.FileServerKey): pair.Key,
		m.Outside.MyCnf(): []byte(text),
	} {
		if err := os.WriteFile(name, content, 0o644); err != nil { // #nosec G306 -- as above
			return err
		}
	}
	return os.WriteFile(filepath.Join(m.Dir, "go"), nil, 0o644) // #nosec G306 -- as above
}

func newInstance() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// Socket is mysqld's, on this side.
func (m *Member) Socket() string { return m.Outside.MysqldSocket() }

// Down kills mysqld with SIGKILL and leaves it down.
func (m *Member) Down() error {
	if err := os.WriteFile(filepath.Join(m.Dir, "down"), nil, 0o644); err != nil { // #nosec G306 -- as above
		return err
	}
	if err := m.Kill(); err != nil {
		return err
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := m.Exec("bash", "-c", "! kill -0 $(cat /tmp/mysqld.pid) 2>/dev/null"); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("mysqld of %s does not end", m.Instance)
		}
	}
}

// Up has a mysqld that is down start again.
func (m *Member) Up() error { return os.Remove(filepath.Join(m.Dir, "down")) }

// Pause stops all of the container, as a machine that hangs does, or has it go on.
func (m *Member) Pause(on bool) error {
	verb := "unpause"
	if on {
		verb = "pause"
	}
	out, err := m.docker(verb, m.name)
	if err != nil {
		return fmt.Errorf("docker %s: %w: %s", verb, err, out)
	}
	return nil
}

// Deaf has nothing of what others send reach the member, until undone. What it sends reaches them: that they have got it is let through (segments without data, which
// nobody pushes), or after a fifth of a second its kernel would send the first of it again and again, and nothing new.
func (m *Member) Deaf(others ...*Member) (undo func() error, err error) {
	pid, err := m.docker("inspect", "-f", "{{.State.Pid}}", m.name)
	if err != nil {
		return nil, fmt.Errorf("docker inspect: %w: %s", err, pid)
	}
	rules := func(verb string) error {
		for _, o := range others {
			// #nosec G204 -- a number of Docker's, and an address
			out, err := exec.Command("nsenter", "--net=/proc/"+strings.TrimSpace(string(pid))+"/ns/net", "iptables", "--wait", verb, "INPUT", "-s", o.Address, "-p", "tcp",
				"--tcp-flags", "PSH", "PSH", "-j", "DROP").CombinedOutput()
			if err != nil {
				return fmt.Errorf("iptables %s: %w: %s", verb, err, out)
			}
		}
		return nil
	}
	return func() error { return rules("-D") }, rules("-A")
}
