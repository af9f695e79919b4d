package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/model"
)

// Sysmgr is huker-sysmgr.
func Sysmgr(version string) *cobra.Command {
	f := common{fleet: controlplane.Fleet{Version: version}}
	var cfg controlplane.HostConfig
	c := &cobra.Command{
		Use:   "huker-sysmgr",
		Short: "Run the databases of one Docker host",
		Long: `Run on each Docker host, as root. It keeps the host's databases, their network, firewall and limits as nodekeeper asked, also while
nodekeeper is away; databases go on when it stops. The host must have been added before: huker host add NAME.

Every flag can be given in a file (--config), or in the environment: HUKER_HOST for --host.`,
		Example: `  huker-sysmgr --host db3 --address 10.0.0.3 --label zone=east --identity /etc/huker/identity \
    --coordination zookeeper://zk1:2281,zk2:2281,zk3:2281/huker --bus rabbitmq://mq1:5671/huker`,
		RunE: func(c *cobra.Command, _ []string) error {
			wrong := f.prepare(c)
			if unread(wrong) {
				return wrong
			}
			cfg.Fleet = f.fleet
			cfg.Versions = func(ctx context.Context) ([]model.DatastoreVersion, error) {
				return controlplane.BuiltVersions(ctx, cfg.DockerHost)
			}
			var err error
			if cfg.BinDir == "" {
				if cfg.BinDir, err = controlplane.GuestBinaries(); err != nil {
					return err
				}
			}
			if cfg.Host == "" {
				if cfg.Host, err = os.Hostname(); err != nil {
					return fmt.Errorf("finding this host's name: %w", err)
				}
			}
			if err := errors.Join(wrong, cfg.Check()); err != nil {
				return err
			}
			return f.work(c, func(ctx context.Context) error { return controlplane.RunHost(ctx, cfg) })
		},
	}
	f.register(c, "127.0.0.1:8781")
	fs := c.Flags()
	fs.StringVar(&cfg.Host, "host", "", "this host's name, as it was added (default: its host name)")
	fs.StringVar(&cfg.Address, "address", "", "IPv4 address at which the other hosts reach this one")
	fs.StringToStringVar(&cfg.Labels, "label", nil, "labels, as zone=east: hosts with the same zone are taken to fail together")
	fs.StringVar(&cfg.DataDir, "data-dir", controlplane.DefaultDataDir, "where what databases need on this host is kept")
	fs.StringVar(&cfg.Subnet, "subnet", "", "subnet of this host's databases, where your routers fix it (default: nodekeeper gives one)")
	fs.StringVar(&cfg.Listen, "listen", "", "address on which other hosts get images from this one (default: --address with port 8782)")
	fs.StringVar(&cfg.DockerHost, "docker-host", os.Getenv("DOCKER_HOST"), "Docker's socket (default: its own default)")
	fs.StringVar(&cfg.BinDir, "bin-dir", "", "where huker-supervisor and huker-guestagent are, if they are not to come from another host (default: beside this program)")
	fs.IntVar(&cfg.ReserveMB, "reserve-memory", controlplane.DefaultReserveMB, "MB of memory that databases do not get")
	return c
}
