package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/model"
)

// Nodekeeper is huker-nodekeeper.
func Nodekeeper(version string) *cobra.Command {
	f := common{fleet: controlplane.Fleet{Version: version}}
	var cfg controlplane.KeeperConfig
	var extra []string
	var management, busPassword string
	c := &cobra.Command{
		Use:   "huker-nodekeeper",
		Short: "Place databases and bring what is into line with what was asked for",
		Long: `Run the central manager. Run two or three, on different hosts: one acts, and another takes over within seconds when it dies.
Databases go on without any of them.

Every flag can be given in a file (--config), or in the environment: HUKER_METADATA for --metadata.`,
		Example: `  huker-nodekeeper --identity /etc/huker/nodekeeper --authority /etc/huker/authority.pem \
    --metadata mysql://huker@db1:3306/huker --metadata-password-file /etc/huker/metadata-password \
    --coordination zookeeper://zk1:2281,zk2:2281,zk3:2281/huker --bus rabbitmq://mq1:5671/huker --bus-management https://mq1:15671`,
		RunE: func(c *cobra.Command, _ []string) error {
			err := f.prepare(c)
			if unread(err) {
				return err
			}
			f.fleet.Management, f.fleet.ManagementPasswordFile = management, busPassword
			cfg.Fleet = f.fleet
			var bad error
			if cfg.Versions, bad = model.ParseVersions(extra); bad != nil {
				err = errors.Join(err, fmt.Errorf("%w: image: %w", ErrUsage, bad))
			}
			if err := errors.Join(err, cfg.Check()); err != nil {
				return err
			}
			return f.work(c, func(ctx context.Context) error { return controlplane.RunKeeper(ctx, cfg) })
		},
	}
	f.register(c, "127.0.0.1:8780")
	metadataFlags(c, &cfg.Metadata)
	fs := c.Flags()
	fs.StringVar(&management, "bus-management", "", "https://HOST:PORT of RabbitMQ's management, where hosts and databases get their rights")
	fs.StringVar(&busPassword, "bus-password-file", "", "file with the password of RabbitMQ's user \"root\", for its management")
	fs.StringVar(&cfg.Authority, "authority", "", "file with the deployment's authority and its key (huker pki init)")
	fs.StringVar(&cfg.Range, "address-range", controlplane.DefaultRange, "where databases' addresses are taken from, a /24 for each host")
	fs.StringVar(&cfg.GuestCoordination, "guest-coordination", "", "coordination's address for databases, when that is another one")
	fs.StringVar(&cfg.GuestBus, "guest-bus", "", "the bus's address for databases, when that is another one")
	fs.StringSliceVar(&extra, "image", nil, "offer a datastore version from an image: mysql:9.7.4=REGISTRY/mysql:9.7.4")
	return c
}
