package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

// Labels of an instance's container.
const (
	ownerLabel    = "io.huker.owner"
	instanceLabel = "io.huker.instance"
)

// caInContainer is the certificate of the instance's authority, inside its container.
const caInContainer = "/huker/etc/ca.pem"

type connectFlags struct {
	user, database, execute, via string
	secret                       secretFlags
}

func (a *app) newInstanceConnect() *cobra.Command {
	var f connectFlags
	cmd := &cobra.Command{
		Use:   "connect INSTANCE [-- MYSQL-OPTIONS]",
		Short: "Open a mysql shell on an instance, or run SQL from standard input",
		Long: `Open a mysql shell on an instance. When standard input is not a terminal, SQL is read from it.

The mysql client of this machine is used if there is one, else the one in the instance's container, through docker. The
connection is encrypted, and the server is made sure of by its own authority's certificate. The password never appears on a
command line or in an environment.

The password is asked for on the terminal, unless it is given. With --password-stdin the first line of standard input is the password,
and what follows is SQL.`,
		Example: `  huker instance connect shop --user app
  huker instance connect shop --user app < schema.sql
  huker instance connect shop --user app --password-file app.pw < schema.sql
  huker instance connect shop --user root --database shop --execute 'SHOW TABLES' -- --table`,
		Args:              oneAndOptions("instance"),
		ValidArgsFunction: a.completeInstances,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.connect(cmd, args[0], args[1:], f) },
	}
	f.register(cmd)
	return cmd
}

func (f *connectFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.user, "user", "u", "", "user to sign in as (default: the only one that there is)")
	fs.StringVarP(&f.database, "database", "D", "", "database to use")
	fs.StringVarP(&f.execute, "execute", "e", "", "SQL to run, in place of standard input")
	fs.StringVar(&f.via, "via", "", "which mysql client: path or docker (default: the first of them that is there)")
	f.secret.register(cmd)
}

// oneAndOptions takes one thing, and after -- what is mysql's.
func oneAndOptions(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n := cmd.ArgsLenAtDash(); len(args) != 1 && n != 1 {
			return usagef("connect takes one %s; options for mysql come after --", what)
		}
		return nil
	}
}

// shell is what a mysql client is started with.
type shell struct {
	options  []byte // an option file; it holds the password
	ca       []byte
	args     []string
	stdin    io.Reader
	terminal bool // stdin is one
}

// place is where clients connect to.
type place struct {
	what    string // "instance" or "cluster"
	name    string
	status  string
	address string
	members []string // instances that have what there is, and a mysql client in their containers
}

func placeOf(i client.Instance) place {
	return place{what: "instance", name: i.Name, status: i.Status, address: i.Address(), members: []string{i.ID}}
}

// open refuses a place that is none yet.
func (p place) open() error {
	if p.address == "" || len(p.members) == 0 {
		return fmt.Errorf("%s %s has no address yet (its status is %s)", p.what, p.name, p.status)
	}
	return nil
}

func (a *app) connect(cmd *cobra.Command, ref string, args []string, f connectFlags) error {
	c, i, err := a.connected(cmd, ref)
	if err != nil {
		return err
	}
	return a.connectTo(cmd, c, placeOf(i), args, f)
}

func (a *app) connectTo(cmd *cobra.Command, c *client.Client, to place, args []string, f connectFlags) error {
	err := to.open()
	if err != nil {
		return err
	}
	user := f.user
	if user == "" {
		if user, err = a.onlyUser(cmd, c, to); err != nil {
			return err
		}
	}
	if !f.secret.given() {
		f.secret.prompt = true
	}
	password, err := a.readSecret(cmd, f.secret, fmt.Sprintf("Password of user %s on %s: ", user, printable(to.name)))
	if err != nil {
		return err
	}
	ca, err := c.CA(cmd.Context(), to.members[0])
	if err != nil {
		return err
	}
	s := shell{ca: []byte(ca), args: args, stdin: cmd.InOrStdin(), terminal: a.isTerminal(cmd.InOrStdin())}
	if f.execute != "" {
		s.stdin, s.terminal = strings.NewReader(f.execute+"\n"), false
	}
	login := [][2]string{{"host", to.address}, {"port", fmt.Sprint(mysqlPort)}, {"user", user}, {"password", password}, {"database", f.database}, {"protocol", "tcp"}}
	return a.openShell(cmd, to, s, login, f.via)
}

// openShell chooses a mysql client and runs it.
func (a *app) openShell(cmd *cobra.Command, to place, s shell, login [][2]string, via string) error {
	path, pathErr := exec.LookPath("mysql")
	docker, dockerErr := exec.LookPath("docker")
	switch {
	case via != "" && via != "path" && via != "docker":
		return usagef("--via %q: want path or docker", via)
	case via != "docker" && pathErr == nil:
		if len(s.ca) > 0 {
			login = append(login, [2]string{"ssl-ca", "/dev/fd/4"})
			// MariaDB's client makes sure of the server when it has an authority; it has no such option.
			if version, err := output(exec.CommandContext(cmd.Context(), path, "--version")); err == nil && !strings.Contains(version, "MariaDB") {
				login = append(login, [2]string{"ssl-mode", "VERIFY_CA"})
			}
		}
		s.options = optionFile(login)
		return s.runLocal(cmd, path)
	case via != "path" && dockerErr == nil:
		s.options = optionFile(append(login, [2]string{"ssl-ca", caInContainer}, [2]string{"ssl-mode", "VERIFY_CA"}))
		return s.runInContainer(cmd, docker, to)
	}
	return errors.New(unreached(via) + "; " + installClient + ", or use \"huker " + to.what + " show --dsn\" with another client")
}

// installClient says how to get a mysql client: Debian's is MariaDB's, which will do.
const installClient = "install one (Debian: apt-get install default-mysql-client)"

// unreached says what is missing to connect in the way that was chosen.
func unreached(via string) string {
	switch via {
	case "path":
		return "there is no mysql client on PATH"
	case "docker":
		return "there is no docker on PATH to reach the mysql client in the instance's container"
	}
	return "there is neither a mysql client on PATH nor docker to reach the one in the instance's container"
}

// optionFile writes mysql's option file.
func optionFile(options [][2]string) []byte {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	var b bytes.Buffer
	b.WriteString("[client]\n")
	for _, o := range options {
		if o[1] == "" {
			continue
		}
		section := o[0] + "=\"" + escape.Replace(o[1]) + "\"\n"
		if o[0] == "database" { // not every program of the group knows it
			section = "[mysql]\n" + section + "[client]\n"
		}
		b.WriteString(section)
	}
	return b.Bytes()
}

// runLocal runs the client of this machine. Options and certificate are in files that have no name any more: nothing is left behind, however
// this ends.
func (s shell) runLocal(cmd *cobra.Command, path string) error {
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, content := range [][]byte{s.options, s.ca} { // descriptors 3 and 4
		f, err := nameless(content)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	run := exec.CommandContext(context.WithoutCancel(cmd.Context()), path, append([]string{"--defaults-file=/dev/fd/3"}, s.args...)...)
	run.ExtraFiles = files
	return s.run(cmd, run)
}

// nameless makes a private file, open at its start, that no other program can open by name.
func nameless(content []byte) (*os.File, error) {
	f, err := os.CreateTemp("", "huker-*") // 0600
	if err != nil {
		return nil, fmt.Errorf("make a file for the client: %w", err)
	}
	_, err = f.Write(content)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return nil, errors.Join(fmt.Errorf("make a file for the client: %w", err), f.Close())
	}
	return f, nil
}

// Scripts for the shell in a container. The option file goes there by standard input, into memory that only this user sees, and has lost its
// name when mysql starts.
const (
	putScript = `umask 077 && f=$(mktemp /tmp/huker-connect.XXXXXX) && cat >"$f" && echo "$f"`
	runScript = `exec 3<"$1" && rm -f "$1" && shift && exec mysql --defaults-file=/dev/fd/3 "$@"`
)

func (s shell) runInContainer(cmd *cobra.Command, docker string, to place) error {
	ctx := cmd.Context()
	container := ""
	for _, member := range to.members {
		found, err := output(exec.CommandContext(ctx, docker, "ps", "--quiet", "--no-trunc", "--filter", "label="+ownerLabel, "--filter", "label="+instanceLabel+"="+member))
		if err != nil {
			return fmt.Errorf("find the %s's container: %w", to.what, err)
		}
		if found != "" && !strings.Contains(found, "\n") {
			container = found
			break
		}
	}
	if container == "" {
		return fmt.Errorf("no container of %s %s runs on this machine; "+
			"to connect from here there must be a mysql client on PATH: %s", to.what, to.name, installClient)
	}
	put := exec.CommandContext(ctx, docker, "exec", "--interactive", container, "sh", "-c", putScript)
	put.Stdin = bytes.NewReader(s.options)
	file, err := output(put)
	if err != nil {
		return fmt.Errorf("reach the %s's container: %w", to.what, err)
	}
	args := []string{"exec", "--interactive"}
	if s.terminal {
		args = append(args, "--tty")
	}
	args = append(args, container, "sh", "-c", runScript, "sh", file)
	return s.run(cmd, exec.CommandContext(context.WithoutCancel(ctx), docker, append(args, s.args...)...))
}

// output gives what a program prints, and what it complains of as an error.
func output(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// run gives the terminal to a client. Ctrl-C is the client's: it ends a query, not the shell.
func (s shell) run(cmd *cobra.Command, run *exec.Cmd) error {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGQUIT)
	defer signal.Stop(interrupts)
	run.Stdin, run.Stdout, run.Stderr = s.stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
	err := run.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("mysql ended with code %d", exit.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("run mysql: %w", err)
	}
	return nil
}
