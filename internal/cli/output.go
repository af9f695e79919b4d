package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

func (a *app) printJSON(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// style is plain columns: it is read by people and cut by awk.
func style() table.Style {
	s := table.StyleDefault
	s.Box = table.BoxStyle{PaddingRight: "   ", MiddleVertical: ""}
	s.Options = table.Options{}
	s.Format = table.FormatOptions{Header: text.FormatUpper}
	return s
}

// printList prints rows under a header, or the value as JSON.
func (a *app) printList(cmd *cobra.Command, value any, header []string, rows [][]any) error {
	if a.output == "json" {
		return a.printJSON(cmd, value)
	}
	w := newTable()
	h := table.Row{}
	for _, c := range header {
		h = append(h, c)
	}
	w.AppendHeader(h)
	for _, r := range rows {
		w.AppendRow(cells(r))
	}
	return write(cmd.OutOrStdout(), w)
}

// pair is a line of what is shown of one thing.
type pair struct {
	name  string
	value any
}

// printOne prints what there is to say of one thing, or the value as JSON. Pairs without a value are left out.
func (a *app) printOne(cmd *cobra.Command, value any, pairs []pair) error {
	if a.output == "json" {
		return a.printJSON(cmd, value)
	}
	w := newTable()
	for _, p := range pairs {
		if p.value != nil && p.value != "" {
			w.AppendRow(cells([]any{p.name, p.value}))
		}
	}
	return write(cmd.OutOrStdout(), w)
}

func newTable() table.Writer {
	w := table.NewWriter()
	w.SetStyle(style())
	return w
}

// cells makes text of what others have named: nothing in it moves the cursor or colours the terminal.
func cells(values []any) table.Row {
	row := table.Row{}
	for _, v := range values {
		row = append(row, printable(fmt.Sprint(v)))
	}
	return row
}

// zeroWidth is a space that takes none: a name of it alone would be shown as nothing.
const zeroWidth = '\u200b'

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) || r == zeroWidth) {
			return '?'
		}
		return r
	}, s)
}

func write(out io.Writer, w table.Writer) error {
	var b strings.Builder
	for line := range strings.Lines(w.Render() + "\n") {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// say prints a line for the reader, not for programs.
func say(cmd *cobra.Command, format string, args ...any) {
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) // nobody is left to tell when this fails
}
