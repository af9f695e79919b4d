// Package cli is the huker program: its commands and how they speak to people.
//
// It owns flags, output, questions and progress. What is asked of the service goes through internal/client; it must not know the
// service's insides, except where a command runs them (serve, up, down).
package cli

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// NewRoot gives the program's root command.
func NewRoot(version string) *cobra.Command {
	return newRoot(&app{
		version: version, getenv: os.Getenv, isTerminal: isTerminal, readPassword: readPassword, openTerminal: openTerminal,
		pollEvery: 300 * time.Millisecond,
	})
}

// app is what commands share.
type app struct {
	version string

	// Global flags.
	output  string
	dataDir string
	flags   credentialFlags

	// What tests replace.
	getenv       func(string) string
	isTerminal   func(any) bool
	readPassword func(in io.Reader) (string, error)
	openTerminal func() (io.ReadCloser, error)
	pollEvery    time.Duration
}

// commands are all below the root. Each is made by a function in the file of its name.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.newInstanceCommand(),
		a.newClusterCommand(),
		a.newDatabaseCommand(),
		a.newUserCommand(),
		a.newRootUserCommand(),
		a.newFlavorCommand(),
		a.newQuotaCommand(),
		a.newHostCommand(),
		newPKICommand(),
		a.newEnvCommand(),
		a.newStatusCommand(),
		a.newUpCommand(),
		a.newDownCommand(),
		a.newDoctorCommand(),
		newServeCommand(a.version),
		NewImageCommand(),
		newVersionCommand(a.version),
	}
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "huker",
		Short: "A relational database service on your own Docker hosts",
		Long: `Huker runs MySQL databases on Docker hosts of your own.

Commands find the service and sign in by, in this order: flags (--os-...), the OS_* variables that OpenStack's clients use,
and the file that "huker up" leaves on its machine (admin.json in the data directory).
Wherever an instance or a cluster is named, its id does as well.`,
		Example: `  huker up
  huker instance create shop --database shop --user app
  huker instance connect shop --user app
  huker cluster create orders --members 3 --database orders --user app
  eval "$(huker env)" && openstack database instance list`,
		Version: a.version, SilenceUsage: true, SilenceErrors: true,
	}
	fs := root.PersistentFlags()
	fs.StringVarP(&a.output, "output", "o", "table", "how to print results: table or json")
	fs.StringVar(&a.dataDir, "data-dir", env("DATA_DIR", defaultDataDir), "data directory of the deployment on this machine")
	a.flags.register(fs)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(a.commands()...)
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.output != "table" && a.output != "json" {
			return usagef("--output %q: want table or json", a.output)
		}
		return nil
	}
	root.SetFlagErrorFunc(badFlag)
	markErrors(root)
	return root
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// openTerminal gives the terminal that this program was started on, also when standard input is something else.
func openTerminal() (io.ReadCloser, error) { return os.Open("/dev/tty") }

// readPassword reads a line without showing it.
func readPassword(in io.Reader) (string, error) {
	f, ok := in.(*os.File)
	if !ok {
		return "", errors.New("not a terminal")
	}
	text, err := term.ReadPassword(int(f.Fd()))
	return string(text), err
}

// group makes a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	var examples []string
	for _, s := range subs {
		first, _, _ := strings.Cut(s.Example, "\n")
		examples = append(examples, first)
	}
	cmd.Example = strings.Join(examples, "\n")
	cmd.AddCommand(subs...)
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return usagef("%q needs one of: %s", cmd.CommandPath(), strings.Join(names(cmd.Commands()), ", "))
	}
	return cmd
}

func names(cmds []*cobra.Command) []string {
	var out []string
	for _, c := range cmds {
		out = append(out, c.Name())
	}
	return out
}
