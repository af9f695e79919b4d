package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"text/tabwriter"
	"time"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"github.com/huker/huker/images"
	"github.com/huker/huker/test/fleet"
)

// defaultName is the fleet of `make fleet-up`.
const defaultName = "dev"

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "fleet",
		Short: "Several Docker hosts on this machine, for trials and tests",
		Long:  "Several Docker hosts on this machine, each with an engine, a network and processes of its own. They stay until they are taken down.",
		Example: `  fleet up --hosts 3
  fleet exec h1 docker ps
  fleet cut h1 --from h2 --way out
  fleet lose h3 && fleet reboot h3 && fleet heal
  fleet down`,
		SilenceUsage: true, SilenceErrors: true,
	}
	name := c.PersistentFlags().String("name", defaultName, "name of the fleet")
	c.AddCommand(upCommand(name), downCommand(name), showCommand(name), execCommand(name), cutCommand(name), slowCommand(name))
	for _, v := range []struct {
		verb, what string
		do         func(*fleet.Host, context.Context) error
	}{
		{"lose", "End hosts as by a power failure", (*fleet.Host).Lose},
		{"reboot", "Lose hosts, and start them again", (*fleet.Host).Reboot},
		{"pause", "Stop all processes of hosts for a while", func(h *fleet.Host, ctx context.Context) error { return h.Pause(ctx) }},
		{"resume", "Have them go on", func(h *fleet.Host, ctx context.Context) error { return h.Resume(ctx) }},
		{"heal", "Take away all that was done to hosts, and start those that are down", (*fleet.Host).Heal},
	} {
		args := cobra.MinimumNArgs(1)
		if v.verb == "heal" {
			args = cobra.ArbitraryArgs // all, if none is named
		}
		c.AddCommand(&cobra.Command{Use: v.verb + " HOST...", Short: v.what, Args: args, RunE: func(c *cobra.Command, args []string) error {
			return with(c.Context(), *name, args, func(h *fleet.Host) error { return v.do(h, c.Context()) })
		}})
	}
	return c
}

func upCommand(name *string) *cobra.Command {
	o := fleet.Options{Keep: true}
	database := false
	c := &cobra.Command{Use: "up", Short: "Make a fleet, unless it is there, and say how to use it", Args: cobra.NoArgs}
	c.RunE = func(c *cobra.Command, _ []string) error {
		o.Name = *name
		f, err := fleet.Open(c.Context(), o.Name)
		if errors.Is(err, fleet.ErrNotFound) {
			if database {
				ref, err := databaseImage(c.Context())
				if err != nil {
					return err
				}
				o.Images = append(o.Images, ref)
			}
			start := time.Now()
			if f, err = fleet.New(c.Context(), o); err == nil {
				fmt.Fprintf(c.OutOrStdout(), "made in %.1f s\n", time.Since(start).Seconds())
			}
		}
		if err != nil {
			return err
		}
		show(c.OutOrStdout(), f)
		return f.Release()
	}
	c.Flags().IntVar(&o.Hosts, "hosts", 3, "how many hosts")
	c.Flags().StringVar(&o.Subnet, "subnet", "", "the /16 for all addresses (default: a free one)")
	c.Flags().StringSliceVar(&o.Images, "image", nil, "image of this machine's engine that is to be on every host")
	c.Flags().BoolVar(&database, "database-image", false, "the newest image for databases is to be on every host, too")
	c.Flags().BoolVar(&o.NoRoutes, "no-routes", false, "hosts are not told the way to each other's containers")
	return c
}

// databaseImage is what `make images` has built.
func databaseImage(ctx context.Context) (string, error) {
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return "", err
	}
	defer docker.Close()
	c, err := images.Load()
	if err != nil {
		return "", err
	}
	built, err := images.NewBuilder(docker, slog.New(slog.DiscardHandler)).Resolve(ctx, c.Built()[0])
	if err != nil {
		return "", fmt.Errorf("the image for databases (make images): %w", err)
	}
	return built.Ref, nil
}

func downCommand(name *string) *cobra.Command {
	cached := false
	c := &cobra.Command{Use: "down", Short: "Remove a fleet with all that is on it", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		err := fleet.Remove(c.Context(), *name)
		if errors.Is(err, fleet.ErrNotFound) {
			fmt.Fprintf(c.OutOrStdout(), "there is no fleet %s\n", *name)
			err = nil
		}
		if err == nil && cached {
			err = fleet.RemoveImages()
		}
		return err
	}}
	c.Flags().BoolVar(&cached, "images", false, "remove what is kept to have images on hosts quickly, too")
	return c
}

func showCommand(name *string) *cobra.Command {
	return &cobra.Command{Use: "show", Short: "Say what the hosts are and how to use them", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		f, err := fleet.Open(c.Context(), *name)
		if err != nil {
			return err
		}
		show(c.OutOrStdout(), f)
		return f.Release()
	}}
}

func show(w io.Writer, f *fleet.Fleet) {
	fmt.Fprintf(w, "Fleet %s: to its hosts this machine is %s; databases' addresses are in %s. All of it is in %s.\n\n",
		f.Name, f.Controller.Address, f.Range, f.Dir)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tADDRESS\tCONTAINERS\tMB\tDOCKER")
	for _, h := range f.Hosts {
		memory := "down"
		if m, err := h.Memory(); err == nil && h.Up() {
			memory = fmt.Sprint(m >> 20)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\tDOCKER_HOST=%s docker ps\n", h.Name, h.Address, h.Subnet(), memory, h.DockerHost())
	}
	_ = t.Flush()
	self, h := os.Args[0], f.Hosts[len(f.Hosts)-1].Name
	if f.Name != defaultName {
		self += " --name " + f.Name
	}
	fmt.Fprintf(w, "\n  %s exec %s docker ps     run something on a host\n  %s cut %s                cut it off (also: pause, slow, lose, reboot)\n"+
		"  %s heal                  and have all well again\n"+
		"  %s down                  remove it\n", self, h, self, h, self, self)
}

func execCommand(name *string) *cobra.Command {
	c := &cobra.Command{Use: "exec HOST PROGRAM [ARGUMENT...]", Short: "Run a program on a host", Args: cobra.MinimumNArgs(2)}
	c.RunE = func(c *cobra.Command, args []string) error {
		f, err := fleet.Open(c.Context(), *name)
		if err != nil {
			return err
		}
		h, err := f.Host(args[0])
		if rerr := f.Release(); err != nil || rerr != nil { // others may use the fleet meanwhile
			return errors.Join(err, rerr)
		}
		cmd := exec.CommandContext(c.Context(), args[1], args[2:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr()
		return h.Run(cmd)
	}
	c.Flags().SetInterspersed(false)
	return c
}

func cutCommand(name *string) *cobra.Command {
	var from []string
	var way string
	var ports []uint
	c := &cobra.Command{Use: "cut HOST...", Short: "Cut hosts off", Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, args []string) error {
		cut := fleet.Cut{}
		for _, p := range ports {
			cut.Ports = append(cut.Ports, uint16(p))
		}
		for _, s := range from {
			cut.From = append(cut.From, fleet.Net(s)) // hosts' names are understood as well
		}
		switch fleet.Way(way) {
		case "both":
		case fleet.Outbound, fleet.Inbound:
			cut.Way = fleet.Way(way)
		default:
			return fmt.Errorf("--way %q: both, out or in", way)
		}
		return with(c.Context(), *name, args, func(h *fleet.Host) error { return h.CutFrom(c.Context(), cut) })
	}}
	c.Flags().StringSliceVar(&from, "from", nil, "hosts, \"controller\", addresses or CIDRs (default: everybody)")
	c.Flags().StringVar(&way, "way", "both", "which packets are dropped: both, out, in")
	c.Flags().UintSliceVar(&ports, "port", nil, "only TCP and UDP with these ports at either end")
	return c
}

func slowCommand(name *string) *cobra.Command {
	rate := 0
	c := &cobra.Command{Use: "slow HOST...", Short: "Limit what goes to hosts and comes from them", Args: cobra.MinimumNArgs(1)}
	c.RunE = func(c *cobra.Command, args []string) error {
		return with(c.Context(), *name, args, func(h *fleet.Host) error { return h.Slow(rate) })
	}
	c.Flags().IntVar(&rate, "rate", 0, "bits per second; 0: no limit")
	return c
}

// with does something to hosts of a fleet, one after the other; to all when none is named.
func with(ctx context.Context, name string, hosts []string, do func(*fleet.Host) error) error {
	f, err := fleet.Open(ctx, name)
	if err != nil {
		return err
	}
	chosen := f.Hosts
	if len(hosts) > 0 {
		chosen = nil
	}
	for _, n := range hosts {
		h, herr := f.Host(n)
		if herr != nil {
			return errors.Join(herr, f.Release())
		}
		chosen = append(chosen, h)
	}
	for _, h := range chosen {
		if derr := do(h); derr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", h.Name, derr))
		}
	}
	return errors.Join(err, f.Release())
}
