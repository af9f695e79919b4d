package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

// waitFlags say whether a command waits for what it has asked for.
type waitFlags struct {
	wait, noWait bool
	timeout      time.Duration
}

func (f *waitFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.wait, "wait", true, "wait until it is done")
	fs.BoolVar(&f.noWait, "no-wait", false, "return as soon as it is asked for")
	fs.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long to wait")
	cmd.MarkFlagsMutuallyExclusive("wait", "no-wait")
}

func (f waitFlags) on() bool { return f.wait && !f.noWait }

// check is asked before anything is asked of the service.
func (f waitFlags) check() error {
	if f.on() && f.timeout <= 0 {
		return usagef("--timeout must be more than nothing; --no-wait does not wait at all")
	}
	return nil
}

// errGone ends a wait for something that is deleted meanwhile.
var errGone = errors.New("the instance was deleted meanwhile")

// ready waits until an instance serves and nothing is under way.
func (a *app) ready(cmd *cobra.Command, c *client.Client, i client.Instance, f waitFlags) (client.Instance, error) {
	err := a.await(cmd, c, i, f, "to be ready", func(now client.Instance, gone bool) (bool, error) {
		i = now
		switch {
		case gone:
			return false, errGone
		case now.Failed():
			return false, failure(now)
		}
		return now.Ready(), nil
	})
	return i, err
}

// gone waits until an instance does not exist any more.
func (a *app) gone(cmd *cobra.Command, c *client.Client, i client.Instance, f waitFlags) error {
	return a.await(cmd, c, i, f, "to be gone", func(_ client.Instance, gone bool) (bool, error) { return gone, nil })
}

func failure(i client.Instance) error {
	why := "no reason was given"
	if i.Fault != nil {
		why = strings.TrimSpace(strings.TrimRight(i.Fault.Message, ".") + ". " + i.Fault.Details)
	}
	return fmt.Errorf("instance %s is in %s: %s", i.Name, i.Status, why)
}

// await looks at an instance again and again until done says so.
func (a *app) await(cmd *cobra.Command, c *client.Client, i client.Instance, f waitFlags, what string,
	done func(now client.Instance, gone bool) (bool, error),
) error {
	show := fmt.Sprintf("huker instance show %s", i.ID)
	return a.poll(cmd, f, i.Name+" "+what, show, func(ctx context.Context) (string, bool, error) {
		now, err := c.Instance(ctx, i.ID)
		gone := client.NotFound(err)
		if err != nil && !gone {
			return "", false, err
		}
		if ok, err := done(now, gone); ok || err != nil {
			return "", true, err
		}
		return step(ctx, c, now), false, nil
	})
}

// poll looks again and again until look says that it is over, and tells what it saw meanwhile. An API that does not answer for a while is waited for. An
// error of look with over is final, as are those that the API answers with; show is the command that tells later how it is.
func (a *app) poll(cmd *cobra.Command, f waitFlags, what, show string, look func(ctx context.Context) (text string, over bool, err error)) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	p := a.newProgress(cmd, "Waiting for "+what)
	defer p.end()
	tick := time.NewTicker(a.pollEvery)
	defer tick.Stop()
	for {
		text, over, err := look(ctx)
		var lost *client.Unreachable
		switch {
		case over:
			return err
		case ctx.Err() != nil: // what was cut off in the middle is half the truth
		case err == nil:
			p.say(text)
		case errors.As(err, &lost):
			p.say("the API does not answer")
		default:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cmd.Context().Err() != nil {
				return fmt.Errorf("stopped waiting; what was asked for goes on: %w", cmd.Context().Err())
			}
			return fmt.Errorf("waited %s for %s; it goes on: %q tells how it is", f.timeout, what, show)
		}
	}
}

// step says what is going on: the status, and the last line of the history.
func step(ctx context.Context, c *client.Client, i client.Instance) string {
	text := i.Status
	if events, err := c.Events(ctx, i.ID, 1); err == nil && len(events) > 0 {
		text += ": " + events[len(events)-1].Message
	}
	return printable(text)
}

// progress tells what is being waited for: with a spinner on a terminal, else with a line when something changes.
type progress struct {
	cmd  *cobra.Command
	what string
	bar  *progressbar.ProgressBar
	last string
}

func (a *app) newProgress(cmd *cobra.Command, what string) *progress {
	p := &progress{cmd: cmd, what: what}
	if a.isTerminal(cmd.ErrOrStderr()) {
		p.bar = progressbar.NewOptions(-1, progressbar.OptionSetWriter(cmd.ErrOrStderr()), progressbar.OptionSetDescription(what),
			progressbar.OptionSpinnerType(14), progressbar.OptionClearOnFinish(), progressbar.OptionSetElapsedTime(true), progressbar.OptionSetRenderBlankState(true))
	}
	return p
}

func (p *progress) say(text string) {
	if p.bar != nil {
		p.bar.Describe(p.what + " (" + text + ")")
		_ = p.bar.Add(1)
		return
	}
	if text != p.last {
		p.last = text
		say(p.cmd, "%s (%s)", p.what, text)
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
