package plain

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/chaos/workload"
)

// Kind is how the members replicate.
type Kind string

const (
	// Group is Group Replication with one primary.
	Group Kind = "group"
	// Async is one source whose replicas follow when they can. Nobody takes its place.
	Async Kind = "async"
)

// Options of a cluster.
type Options struct {
	Kind    Kind
	Members int    // 0: 3
	Image   string // of MySQL
	Router  string // image of MySQL Router, in front of a Group; empty: none
	// ExpelTimeout is group_replication_member_expel_timeout in seconds; nil: MySQL's own, which is 5.
	ExpelTimeout *int
	MemoryMB     int // of each member; 0: 768
}

// Who may use the cluster.
const (
	User     = "chaos"
	Password = "chaos-Of-t3sts"
	Database = "chaos"
)

const (
	usualMembers  = 3
	usualMemoryMB = 768
	label         = "huker.test=plain"
	groupPort     = 33061
	mysqlPort     = 3306
	routerPort    = 6446
	patience      = 2 * time.Minute
)

// Cluster runs.
type Cluster struct {
	Options
	Members []*Member
	name    string
	subnet  *net.IPNet
	group   string // Group Replication's name of it
}

// Member is a server.
type Member struct {
	fault.Container
	Address string // without a port, which is 3306
	number  int
	uuid    string
}

// Endpoint is the member's own.
func (m *Member) Endpoint() workload.Endpoint {
	return workload.Endpoint{Address: net.JoinHostPort(m.Address, fmt.Sprint(mysqlPort)), User: User, Password: Password, Database: Database}
}

// Endpoint is where the cluster is to be written to: the router's, or the first member's.
func (c *Cluster) Endpoint() workload.Endpoint {
	e := c.Members[0].Endpoint()
	if c.Router != "" {
		e.Address = net.JoinHostPort(c.address(routerNumber), fmt.Sprint(routerPort))
	}
	return e
}

// Start makes a cluster. It is to be closed also when there was an error.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Members == 0 {
		o.Members = usualMembers
	}
	if o.MemoryMB == 0 {
		o.MemoryMB = usualMemoryMB
	}
	b := make([]byte, 4)
	_, _ = rand.Read(b) // it never fails
	c := &Cluster{Options: o, name: "huker-plain-" + hex.EncodeToString(b), group: uuid.NewString()}
	if err := c.connect(ctx); err != nil {
		return c, err
	}
	for n := range o.Members {
		c.Members = append(c.Members, &Member{
			Container: fault.Container{Machine: fault.Here{}, Name: fmt.Sprintf("%s-%d", c.name, n+1)}, Address: c.address(n), number: n + 1,
		})
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, m := range c.Members {
		g.Go(func() error { return c.start(gctx, m) })
	}
	if err := g.Wait(); err != nil {
		return c, err
	}
	var err error
	switch o.Kind {
	case Group:
		err = c.found(ctx)
	case Async:
		err = c.follow(ctx)
	}
	return c, err
}

// Close removes everything.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	out, err := docker(ctx, "ps", "--all", "--quiet", "--filter", "label="+label, "--filter", "network="+c.name)
	errs = append(errs, err)
	ids := strings.Fields(out)
	for _, m := range c.Members { // those that never got as far as the network, too
		ids = append(ids, m.Name)
	}
	for _, id := range ids {
		_, err := docker(ctx, "rm", "--force", "--volumes", id)
		if err != nil && !strings.Contains(err.Error(), "No such container") {
			errs = append(errs, err)
		}
	}
	if c.subnet != nil {
		_, err = docker(ctx, "network", "rm", c.name)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func docker(ctx context.Context, args ...string) (string, error) {
	return fault.Here{}.Exec(ctx, append([]string{"docker"}, args...)...)
}

// connect makes a network with addresses that stay.
func (c *Cluster) connect(ctx context.Context) error {
	var err error
	for range 20 {
		third, rerr := rand.Int(rand.Reader, big.NewInt(256))
		if rerr != nil {
			return rerr
		}
		subnet := fmt.Sprintf("10.219.%d.0/24", third)
		if _, err = docker(ctx, "network", "create", "--label", label, "--subnet", subnet, c.name); err == nil {
			_, c.subnet, err = net.ParseCIDR(subnet)
			return err
		}
	}
	return fmt.Errorf("making a network: %w", err)
}

// address is that of the nth container.
func (c *Cluster) address(n int) string {
	const first = 11
	ip := slices.Clone(c.subnet.IP.To4())
	ip[3] = byte(first + n)
	return ip.String()
}

// script starts mysqld again when it ends, as whoever looks after one would. What is in the file "boot" comes to its arguments after the first start.
const script = `d=/var/lib/mysql
if [ ! -e $d/made ]; then
  rm -rf $d/data
  cp -r /usr/share/huker/template $d/data && rm -f $d/data/auto.cnf
  echo "--init-file=/tmp/init.sql" > $d/boot
  touch $d/made
fi
printf '%s' "$INIT" > /tmp/init.sql
while true; do
  rm -f /tmp/mysqld.sock*
  mysqld "$@" $(cat $d/boot) &
  wait $!
done`

// accounts are made on each server by itself.
const accounts = `SET sql_log_bin = 0;
CREATE USER ` + User + `@'%' IDENTIFIED BY '` + Password + `';
GRANT ALL ON *.* TO ` + User + `@'%' WITH GRANT OPTION;
CREATE DATABASE ` + Database + `;
`

// arguments are of a server as Huker has it, where it matters for what is compared: every commit is on the disk when it is answered.
func (c *Cluster) arguments(m *Member) []string {
	args := []string{
		"--no-defaults", "--datadir=/var/lib/mysql/data", "--socket=/tmp/mysqld.sock", "--pid-file=/tmp/mysqld.pid", "--mysqlx=OFF", "--skip-name-resolve",
		"--secure-file-priv=NULL", "--server-id=" + fmt.Sprint(m.number), "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--log-bin=binlog",
		"--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=128M", "--max-connections=300",
		"--report-host=" + m.Address, "--port=" + fmt.Sprint(mysqlPort),
	}
	if c.Kind != Group {
		return args
	}
	var seeds []string
	for _, other := range c.Members {
		seeds = append(seeds, fmt.Sprintf("%s:%d", other.Address, groupPort))
	}
	args = append(args, "--plugin-load-add=group_replication.so", "--group-replication-group-name="+c.group, "--group-replication-start-on-boot=OFF",
		fmt.Sprintf("--group-replication-local-address=%s:%d", m.Address, groupPort), "--group-replication-group-seeds="+strings.Join(seeds, ","),
		"--group-replication-recovery-get-public-key=ON")
	if c.ExpelTimeout != nil {
		args = append(args, fmt.Sprintf("--group-replication-member-expel-timeout=%d", *c.ExpelTimeout))
	}
	return args
}

func (c *Cluster) start(ctx context.Context, m *Member) error {
	limit := fmt.Sprintf("%dm", c.MemoryMB)
	args := append([]string{
		"run", "--detach", "--name", m.Name, "--label", label, "--network", c.name, "--ip", m.Address, "--memory", limit, "--memory-swap", limit,
		"--user", "999:999", "--volume", "/var/lib/mysql", "--env", "INIT=" + accounts, "--entrypoint", "bash", c.Image, "-c", script, "bash",
	}, c.arguments(m)...)
	if _, err := docker(ctx, args...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := m.await(ctx); err != nil {
		return err
	}
	// Whatever is executed again would be executed when the server may not be written to.
	return m.boot(ctx, "")
}

// boot says what is to be added to mysqld's arguments from the next start on.
func (m *Member) boot(ctx context.Context, argument string) error {
	_, err := docker(ctx, "exec", m.Name, "bash", "-c", `echo "$0" > /var/lib/mysql/boot`, argument)
	return err
}

// await waits until the server answers, and learns who it is.
func (m *Member) await(ctx context.Context) error {
	for {
		err := m.query(ctx, []any{&m.uuid}, "SELECT @@server_uuid")
		if err == nil {
			return nil
		}
		if workload.Wait(ctx, 50*time.Millisecond) != nil {
			logs, _ := docker(context.WithoutCancel(ctx), "logs", "--tail", "20", m.Name)
			return fmt.Errorf("%s does not answer: %w: %s", m.Name, err, logs)
		}
	}
}

func (m *Member) session() (*workload.Session, error) {
	e := m.Endpoint()
	e.Answer = 30 * time.Second // of statements that take their time
	connector, err := e.Connector()
	if err != nil {
		return nil, err
	}
	return workload.NewSession(connector), nil
}

func (m *Member) query(ctx context.Context, to []any, query string) error {
	s, err := m.session()
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Query(ctx, to, query)
}

func (m *Member) exec(ctx context.Context, statements ...string) error {
	s, err := m.session()
	if err != nil {
		return err
	}
	defer s.Close()
	for _, q := range statements {
		if _, err := s.Exec(ctx, q); err != nil {
			return fmt.Errorf("%s: %s: %w", m.Name, q, err)
		}
	}
	return nil
}

// follow has all members but the first replicate from that.
func (c *Cluster) follow(ctx context.Context) error {
	for _, m := range c.Members[1:] {
		if err := m.exec(ctx, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_USER='%s', SOURCE_PASSWORD='%s', SOURCE_AUTO_POSITION=1,"+
			" GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=100000", c.Members[0].Address, User, Password),
			"START REPLICA", "SET GLOBAL super_read_only=ON"); err != nil {
			return err
		}
	}
	return nil
}
