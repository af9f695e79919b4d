package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/protocol"
)

// Roles of identities.
const (
	roleControl = "control"
	roleHost    = "host"
	roleServer  = "server"
)

func newPKICommand() *cobra.Command {
	return group("pki", "Make the identities of a fleet's processes (on the machine that keeps the authority)", newPKIInit(), newPKIIssue())
}

func newPKIInit() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the deployment's certificate authority, or find it made",
		Long: `Make the deployment's certificate authority: authority.pem, with its key, which is for nodekeepers only, and authority.crt, which everybody
may know. Doing it again changes nothing. Whoever has the key can be anyone: keep it, and a copy of it, safe.`,
		Example: "  huker pki init --dir /etc/huker/pki",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := pki.OpenCA(dir); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", filepath.Join(dir, pki.AuthorityFile))
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "/etc/huker/pki", "where the authority is kept")
	return cmd
}

func newPKIIssue() *cobra.Command {
	var dir, out string
	var addresses []string
	cmd := &cobra.Command{
		Use:   "issue ROLE NAME",
		Short: "Issue an identity: a directory with ca.pem, cert.pem and key.pem",
		Long: `Issue an identity: a directory with ca.pem, cert.pem and key.pem, good for a year; issue it anew before that and restart the process.

  control NAME   of a huker-api or huker-nodekeeper: may do everything
  host NAME      of a host's huker-sysmgr: may touch nothing but what is its own; needs --address
  server NAME    of RabbitMQ, ZooKeeper, MySQL: shows who answers, and may do nothing; needs --address`,
		Example: `  huker pki issue control api1 --out /etc/huker/identity
  huker pki issue host db3 --address 10.0.0.3 --out ./db3
  huker pki issue server zk1 --address zk1.example.org,10.0.0.21 --out ./zk1`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			role, name := args[0], args[1]
			if out == "" {
				out = filepath.Join(dir, role+"-"+name)
			}
			if role != roleControl && len(addresses) == 0 {
				return usagef("a %s answers others: give the addresses and names at which it does with --address", role)
			}
			ca, err := pki.ReadCA(dir)
			if err != nil {
				return err
			}
			pair, err := issue(ca, role, name, addresses)
			if err != nil {
				return err
			}
			if err := writeIdentity(out, ca, pair); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", out)
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "/etc/huker/pki", "where the authority is kept")
	cmd.Flags().StringVar(&out, "out", "", "where to put the identity (default: ROLE-NAME beside the authority)")
	cmd.Flags().StringSliceVar(&addresses, "address", nil, "IP addresses and names at which the process answers others")
	return cmd
}

func issue(ca *pki.CA, role, name string, addresses []string) (pki.Pair, error) {
	switch role {
	case roleControl:
		return ca.IssueProcess(controlplane.ControlPrincipal, addresses...)
	case roleHost:
		return ca.IssueProcess(protocol.HostPrincipal(name), addresses...)
	case roleServer:
		return ca.IssueProcess("server."+strings.ReplaceAll(name, " ", "-"), addresses...)
	}
	return pki.Pair{}, usagef("role %q: want control, host or server", role)
}

// writeIdentity puts the key first: a certificate without its key is of no use, and nobody takes it for whole.
func writeIdentity(dir string, ca *pki.CA, pair pki.Pair) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the identity's directory: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{controlplane.IdentityKey, pair.Key}, {controlplane.IdentityCert, pair.Cert}, {controlplane.IdentityCA, ca.CertPEM()}} {
		if err := pki.WriteFile(filepath.Join(dir, f.name), f.data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
