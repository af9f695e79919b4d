package daemon

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/identity"
)

// API is huker-api.
func API(version string) *cobra.Command {
	f := common{fleet: controlplane.Fleet{Version: version}}
	var cfg controlplane.APIConfig
	var provider, keystoneURL, keystoneCA string
	c := &cobra.Command{
		Use:   "huker-api",
		Short: "Serve Huker's API: OpenStack's database API (Trove v1.0) and identity (Keystone v3)",
		Long: `Serve the API. Run as many as you like, on any hosts, behind any load balancer: they keep nothing.

Every flag can be given in a file (--config), or in the environment: HUKER_METADATA for --metadata.`,
		Example: `  huker-api --identity /etc/huker/api --metadata mysql://huker@db1:3306/huker --metadata-password-file /etc/huker/metadata-password \
    --coordination zookeeper://zk1:2281,zk2:2281,zk3:2281/huker --bus rabbitmq://mq1:5671/huker \
    --listen 0.0.0.0:8779 --tls-cert /etc/huker/api.crt --tls-key /etc/huker/api.key --admin-password-file /etc/huker/admin-password`,
		RunE: func(c *cobra.Command, _ []string) error {
			err := f.prepare(c)
			if unread(err) {
				return err
			}
			cfg.Fleet = f.fleet
			cfg.Provider = identity.Provider(provider)
			if keystoneURL != "" || keystoneCA != "" {
				cfg.Keystone = &identity.KeystoneConfig{URL: keystoneURL, CAFile: keystoneCA}
			}
			if err := errors.Join(err, cfg.Check()); err != nil {
				return err
			}
			return f.work(c, func(ctx context.Context) error { return controlplane.RunAPI(ctx, cfg) })
		},
	}
	f.register(c, "")
	metadataFlags(c, &cfg.Metadata)
	fs := c.Flags()
	fs.StringVar(&cfg.Listen, "listen", controlplane.DefaultListen, "address of the API; /healthz and /readyz are there too")
	fs.StringVar(&cfg.PublicURL, "public-url", "", "how clients reach the API, when that is not as they ask for it")
	fs.StringVar(&cfg.Region, "region", controlplane.DefaultRegion, "the region's name in the catalogue")
	fs.StringVar(&cfg.TLSCert, "tls-cert", "", "file with the certificate that clients see; empty: plain HTTP")
	fs.StringVar(&cfg.TLSKey, "tls-key", "", "file with its key")
	fs.StringVar(&cfg.AdminPasswordFile, "admin-password-file", "", "file with the password of \"admin\", used while there is no administrator")
	fs.StringVar(&keystoneURL, "keystone-url", "", "have this Keystone in place of Huker's own accounts (https://keystone:5000/v3)")
	fs.StringVar(&keystoneCA, "keystone-ca", "", "file with the certificate authority of that Keystone")
	fs.StringVar(&provider, "identity-provider", "", "whose accounts count: builtin, keystone or both (default: keystone where --keystone-url is given, else builtin)")
	fs.BoolVar(&cfg.NoAuth, "no-auth", false, "trust the project in the URL without any token (only while the API listens on loopback)")
	return c
}
