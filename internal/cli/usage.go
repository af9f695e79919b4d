package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/huker/huker/internal/client"
)

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// runError is a failure of a command whose command line was right. All errors that cobra finds by itself come before a command runs, and are
// not marked so.
type runError struct{ err error }

func (e *runError) Error() string { return e.err.Error() }
func (e *runError) Unwrap() error { return e.err }

// markErrors has each command's errors say what they are: failures of the command, or mistakes in the command line, with the line as it
// should be.
func markErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			var usage *usageError
			if err == nil || errors.As(err, &usage) {
				return err
			}
			if cmd.HasAvailableSubCommands() {
				return usagef("%s%s", err, meant(cmd, args))
			}
			return usagef("%s\nUsage: %s", err, cmd.UseLine())
		}
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := run(cmd, args); err != nil {
				return &runError{explain(err)}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		markErrors(sub)
	}
}

// meant says which commands there are where there is none of a name.
func meant(cmd *cobra.Command, args []string) string {
	if len(args) > 0 {
		cmd.SuggestionsMinimumDistance = 2 // letters
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return fmt.Sprintf("; did you mean %q?", near[0])
		}
	}
	return "; there are: " + strings.Join(names(cmd.Commands()), ", ")
}

// parsing is what strconv says before what is of interest.
var parsing = regexp.MustCompile(`strconv\.\w+: parsing "[^"]*": |time: `)

// badFlag is how all commands refuse flags that they do not know or cannot read.
func badFlag(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	return usagef("%s\n%q tells which flags there are", parsing.ReplaceAllString(err.Error(), ""), cmd.CommandPath()+" --help")
}

// ExitCode gives the program's exit code for what Execute returned: 0 done, 1 failed, 2 misused.
func ExitCode(err error) int {
	var usage *usageError
	var run *runError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage) || !errors.As(err, &run):
		return 2
	}
	return 1
}

// Complain says why cmd failed: to a person or, with --output json, to a program, as one line of JSON.
func Complain(w io.Writer, cmd *cobra.Command, err error) {
	if f := cmd.Flag("output"); f == nil || f.Value.String() != "json" {
		_, _ = fmt.Fprintln(w, "huker:", err) // nobody is left to tell when this fails
		return
	}
	var answer *client.Error
	c := complaint{Message: err.Error(), ExitCode: ExitCode(err)}
	if errors.As(err, &answer) {
		c.Status = answer.Status
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(map[string]complaint{"error": c})
}

// complaint is an error for programs.
type complaint struct {
	Message  string `json:"message"`
	Status   int    `json:"http_status,omitempty"` // of the service's answer, when it was that which refused
	ExitCode int    `json:"exit_code"`
}

// explain adds what to do to errors that people meet often.
func explain(err error) error {
	var lost *client.Unreachable
	if errors.As(err, &lost) {
		return fmt.Errorf("%w\nIs Huker running? \"%s up\" starts it on this machine; OS_AUTH_URL names one elsewhere", err, calledAs(os.Args[0]))
	}
	var answer *client.Error
	if errors.As(err, &answer) && answer.Status == 401 {
		return fmt.Errorf("%w\nAccount, password, project or token are not right. They come from flags, from the OS_* variables if OS_AUTH_URL "+
			"or OS_ENDPOINT is set, and else from the file that \"huker up\" leaves", err)
	}
	return err
}

// calledAs is how whoever called this program as given can call it again: "huker" where a shell finds it by that name, else as it was.
func calledAs(given string) string {
	const name = "huker"
	if !strings.HasSuffix(given, "/"+name) {
		return name
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return given
	}
	there, err := os.Stat(found)
	if err != nil {
		return given
	}
	if here, err := os.Stat(given); err == nil && os.SameFile(here, there) {
		return name
	}
	return given
}

func newVersionCommand(version string) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which version this is", Example: "  huker version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	}
}
