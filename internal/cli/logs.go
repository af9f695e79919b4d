package cli

import (
	"bytes"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

type logFlags struct {
	list, follow             bool
	enable, disable, discard bool
	lines                    int
}

func (a *app) newInstanceLogs() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "logs INSTANCE [LOG]",
		Short: "Print a log of an instance (error when none is named), list the logs, or switch one",
		Example: `  huker instance logs shop --follow
  huker instance logs shop --list
  huker instance logs shop slow_query --enable`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.within(logNames, nothing),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.lines < 0 {
				return usagef("--tail must not be negative")
			}
			reads := !f.list && !f.enable && !f.disable && !f.discard
			if reads && a.output == "json" {
				return usagef("a log is no JSON; --list is")
			}
			c, i, err := a.connected(cmd, args[0])
			if err != nil {
				return err
			}
			name := "error"
			if len(args) == 2 {
				name = args[1]
			}
			for action, on := range map[string]bool{"enable": f.enable, "disable": f.disable, "discard": f.discard} {
				if on {
					log, err := c.SetLog(cmd.Context(), i.ID, name, action)
					if err != nil {
						return err
					}
					return a.printLogs(cmd, []client.Log{log})
				}
			}
			if f.list {
				logs, err := c.Logs(cmd.Context(), i.ID)
				if err != nil {
					return err
				}
				return a.printLogs(cmd, logs)
			}
			return a.tail(cmd, c, i.ID, name, f)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.list, "list", "l", false, "list the logs")
	fs.BoolVarP(&f.follow, "follow", "f", false, "go on with what is written")
	fs.IntVarP(&f.lines, "tail", "n", 0, "only so many of the last lines (default: the whole log)")
	fs.BoolVar(&f.enable, "enable", false, "switch the log on")
	fs.BoolVar(&f.disable, "disable", false, "switch the log off")
	fs.BoolVar(&f.discard, "discard", false, "empty the log")
	cmd.MarkFlagsMutuallyExclusive("list", "follow", "enable", "disable", "discard")
	return cmd
}

func (a *app) printLogs(cmd *cobra.Command, logs []client.Log) error {
	var rows [][]any
	for _, l := range logs {
		rows = append(rows, []any{l.Name, l.Type, l.Status, l.Size})
	}
	return a.printList(cmd, logs, []string{"name", "type", "status", "bytes"}, rows)
}

// lastLines finds where the last n lines of a log start, looking at no more than its last part.
func lastLines(ctx context.Context, c *client.Client, id, name string, n int) (int64, error) {
	const part = 256 << 10 // the most that is given at once
	end, err := c.ReadLog(ctx, id, name, -part)
	for last := end; err == nil && len(last.Content) > 0 && len(end.Content) < 2*part; { // it may come in pieces, and grow meanwhile
		last, err = c.ReadLog(ctx, id, name, end.Offset+int64(len(end.Content)))
		end.Content = append(end.Content, last.Content...)
	}
	if err != nil {
		return 0, err
	}
	text := bytes.TrimSuffix(end.Content, []byte("\n"))
	at := len(text)
	for ; n > 0 && at >= 0; n-- {
		at = bytes.LastIndexByte(text[:at], '\n')
	}
	return end.Offset + int64(at+1), nil
}

func (a *app) tail(cmd *cobra.Command, c *client.Client, id, name string, f logFlags) error {
	ctx := cmd.Context()
	var offset int64
	if f.lines > 0 {
		var err error
		if offset, err = lastLines(ctx, c, id, name, f.lines); err != nil {
			return err
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		part, err := c.ReadLog(ctx, id, name, offset)
		if err != nil {
			return err
		}
		switch {
		case len(part.Content) > 0:
			if _, err := cmd.OutOrStdout().Write(part.Content); err != nil {
				return err
			}
			offset = part.Offset + int64(len(part.Content))
			continue
		case part.Size < offset: // it was emptied, or cut
			offset = 0
			continue
		case !f.follow:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil //nolint:nilerr // that is how following ends
		}
	}
}
