package cli

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// secretFlags say where a password comes from. There is no flag for the password itself: everybody on the machine can read command lines.
type secretFlags struct {
	stdin, prompt bool
	file          string
}

func (f *secretFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.stdin, "password-stdin", false, "take the password from the first line of standard input")
	fs.StringVar(&f.file, "password-file", "", "take the password from the first line of a file")
	fs.BoolVar(&f.prompt, "ask-password", false, "ask for the password")
	cmd.MarkFlagsMutuallyExclusive("password-stdin", "password-file", "ask-password")
	_ = cmd.MarkFlagFilename("password-file")
}

// given reports whether a source was named.
func (f secretFlags) given() bool { return f.stdin || f.prompt || f.file != "" }

// read gives the password from the source that was named; "" when none was.
func (a *app) readSecret(cmd *cobra.Command, f secretFlags, question string) (string, error) {
	switch {
	case f.stdin:
		return firstLine(cmd.InOrStdin())
	case f.file != "":
		file, err := os.Open(f.file)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		defer func() { _ = file.Close() }()
		return firstLine(file)
	case f.prompt:
		return a.ask(cmd, question)
	}
	return "", nil
}

// maxSecret bounds a line; no password is longer.
const maxSecret = 4096

// firstLine takes not a byte more from r than the line: what follows is for others.
func firstLine(r io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) <= maxSecret {
		n, err := r.Read(b)
		if n == 1 && b[0] == '\n' || errors.Is(err, io.EOF) && n == 0 {
			break
		}
		if n == 1 {
			line = append(line, b[0])
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
	}
	text := strings.TrimSuffix(string(line), "\r")
	if text == "" || len(text) > maxSecret {
		return "", errors.New("read the password: the first line is empty or too long")
	}
	return text, nil
}

// ask asks for a password on the terminal: standard input may be a file of SQL.
func (a *app) ask(cmd *cobra.Command, question string) (string, error) {
	in := cmd.InOrStdin()
	if !a.isTerminal(in) {
		tty, err := a.openTerminal()
		if err != nil {
			return "", errors.New("there is no terminal to ask for a password on; use --password-stdin or --password-file")
		}
		defer func() { _ = tty.Close() }()
		in = tty
	}
	_, _ = fmt.Fprint(cmd.ErrOrStderr(), question)
	text, err := a.readPassword(in)
	_, _ = fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if text == "" {
		return "", errors.New("no password was given")
	}
	return text, nil
}

// generate makes a password of 130 random bits that survives shells, URLs and option files unquoted.
func generate() string { return rand.Text() }

// confirm asks before something is lost for good. Without a terminal there is nobody to ask, so --yes must say it.
func (a *app) confirm(cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.isTerminal(cmd.InOrStdin()) {
		return usagef("there is no terminal to ask on: repeat with --yes if you are sure")
	}
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && line == "" {
		return errors.New("no answer; nothing was done")
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}
