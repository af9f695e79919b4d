package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/huker/huker/internal/client"
)

// Of the deployment on this machine. The same as controlplane's, which the CLI's commands for users must not need.
const (
	defaultDataDir = "/var/lib/huker"
	adminFile      = "admin.json"
)

// credentialFlags are named as OpenStack's clients name them.
type credentialFlags struct {
	authURL, username, project, region string
}

func (f *credentialFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.authURL, "os-auth-url", "", "identity service ($OS_AUTH_URL)")
	flags.StringVar(&f.username, "os-username", "", "account to sign in with ($OS_USERNAME); its password is $OS_PASSWORD, or asked for")
	flags.StringVar(&f.project, "os-project-name", "", "project to work in ($OS_PROJECT_NAME)")
	flags.StringVar(&f.region, "os-region-name", "", "region ($OS_REGION_NAME)")
}

// localAdmin is the file that the control plane leaves for the CLI on its machine.
type localAdmin struct {
	Endpoint string         `json:"endpoint"`
	Region   string         `json:"region"`
	Username string         `json:"username"`
	Password string         `json:"password"`
	Project  string         `json:"project"`
	Operator *localOperator `json:"operator"` // nil unless another Keystone has all accounts
}

// localOperator is how root on the control plane's machine gets in without an account of that Keystone.
type localOperator struct {
	Endpoint string `json:"endpoint"`
	Token    string `json:"token"`
	Project  string `json:"project"`
	AuthURL  string `json:"auth_url"`
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// credentials finds out where the service is and who asks.
func (a *app) credentials() (client.Config, error) {
	f := a.flags
	c := client.Config{
		AuthType: first(a.getenv("OS_AUTH_TYPE"), client.AuthPassword),
		AuthURL:  first(f.authURL, a.getenv("OS_AUTH_URL")), Endpoint: first(a.getenv("OS_ENDPOINT"), a.getenv("OS_ENDPOINT_OVERRIDE")),
		Username: first(f.username, a.getenv("OS_USERNAME")), Password: a.getenv("OS_PASSWORD"), Token: a.getenv("OS_TOKEN"),
		ProjectID: a.getenv("OS_PROJECT_ID"), Project: first(f.project, a.getenv("OS_PROJECT_NAME")),
		Domain: first(a.getenv("OS_USER_DOMAIN_NAME"), a.getenv("OS_DOMAIN_NAME")), DomainID: a.getenv("OS_USER_DOMAIN_ID"),
		ProjectDomain: a.getenv("OS_PROJECT_DOMAIN_NAME"), ProjectDomainID: a.getenv("OS_PROJECT_DOMAIN_ID"),
		Region: first(f.region, a.getenv("OS_REGION_NAME")), Interface: a.getenv("OS_INTERFACE"), CAFile: a.getenv("OS_CACERT"),
	}
	if f.project != "" {
		c.ProjectID = ""
	}
	if c.AuthURL != "" || c.Endpoint != "" {
		return c, nil
	}
	local, err := a.localAdmin()
	if err != nil {
		return client.Config{}, err
	}
	if local.Operator != nil {
		return local.Operator.credentials(c, local.Region)
	}
	c.AuthType, c.AuthURL = client.AuthPassword, strings.TrimRight(local.Endpoint, "/")+"/identity/v3"
	c.Region = first(c.Region, local.Region)
	if c.ProjectID == "" {
		c.Project = first(c.Project, local.Project)
	}
	if c.Username == "" || c.Username == local.Username {
		c.Username, c.Password = local.Username, local.Password
	}
	return c, nil
}

// credentials are an account's of the Keystone when one is named, and the operator's else.
func (o *localOperator) credentials(c client.Config, region string) (client.Config, error) {
	if c.Username != "" || c.Token != "" {
		c.AuthURL, c.Region = o.AuthURL, first(c.Region, region)
		return c, nil
	}
	if c.ProjectID == "" && c.Project != "" && c.Project != o.Project {
		return c, fmt.Errorf("the operator of this machine knows projects by id only: set OS_PROJECT_ID, or sign in at %s (OS_USERNAME, OS_PASSWORD)", o.AuthURL)
	}
	return client.Config{
		AuthType: client.AuthAdmin, Token: o.Token, Endpoint: strings.TrimRight(o.Endpoint, "/") + "/v1.0/" + first(c.ProjectID, o.Project),
	}, nil
}

func (a *app) localAdmin() (localAdmin, error) {
	path := filepath.Join(a.dataDir, adminFile)
	const otherwise = "set OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME"
	var local localAdmin
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return local, fmt.Errorf("no Huker is known here: there is no %s (\"huker up\" makes one); for one elsewhere, %s", path, otherwise)
	case errors.Is(err, fs.ErrPermission):
		return local, fmt.Errorf("you may not read %s: run this as root, or %s", path, otherwise)
	case err != nil:
		return local, fmt.Errorf("read the deployment's credentials: %w", err)
	}
	if err := json.Unmarshal(text, &local); err != nil || local.Endpoint == "" {
		return local, fmt.Errorf("%s is damaged; \"huker up\" writes it anew once it is removed", path)
	}
	return local, nil
}

// client signs in nowhere yet; it asks for the account's password when none is known and somebody can be asked.
func (a *app) client(cmd *cobra.Command) (*client.Client, error) {
	c, err := a.credentials()
	if err != nil {
		return nil, err
	}
	if c.Password == "" && c.Username != "" && strings.HasSuffix(c.AuthType, client.AuthPassword) {
		if !a.isTerminal(cmd.InOrStdin()) {
			return nil, fmt.Errorf("no password for account %s: set OS_PASSWORD", c.Username)
		}
		if c.Password, err = a.ask(cmd, "Password of account "+c.Username+": "); err != nil {
			return nil, err
		}
	}
	if dir := first(a.getenv("XDG_CACHE_HOME"), under(a.getenv("HOME"), ".cache")); dir != "" {
		c.CacheDir = filepath.Join(dir, "huker")
	}
	return client.New(c)
}

func under(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

func (a *app) newEnvCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print the OS_* variables with which OpenStack's clients reach Huker (a password or token is among them)",
		Example: `  eval "$(huker env)"
  huker env > ~/huker.env && chmod 600 ~/huker.env`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.credentials()
			if err != nil {
				return err
			}
			vars := environment(c)
			if a.output == "json" {
				out := map[string]string{}
				for _, v := range vars {
					out[v[0]] = v[1]
				}
				return a.printJSON(cmd, out)
			}
			if local, err := a.localAdmin(); err == nil && local.Operator != nil && local.Operator.Token == c.Token {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "# For root on this machine. Everybody else signs in at %s\n", local.Operator.AuthURL); err != nil {
					return err
				}
			}
			for _, v := range vars {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", v[0], shellQuote(v[1])); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// environment gives the variables of credentials, in the order in which people read them.
func environment(c client.Config) [][2]string {
	if c.AuthURL == "" { // nobody is asked who is who
		c.Domain, c.DomainID, c.ProjectDomain, c.ProjectDomainID = "", "", "", ""
	} else {
		c.FillDomains()
	}
	all := [][2]string{
		{"OS_AUTH_TYPE", c.AuthType}, {"OS_AUTH_URL", c.AuthURL}, {"OS_ENDPOINT", c.Endpoint}, {"OS_USERNAME", c.Username}, {"OS_PASSWORD", c.Password},
		{"OS_TOKEN", c.Token}, {"OS_PROJECT_ID", c.ProjectID}, {"OS_PROJECT_NAME", c.Project}, {"OS_USER_DOMAIN_NAME", c.Domain},
		{"OS_USER_DOMAIN_ID", c.DomainID}, {"OS_PROJECT_DOMAIN_NAME", c.ProjectDomain}, {"OS_PROJECT_DOMAIN_ID", c.ProjectDomainID},
		{"OS_REGION_NAME", c.Region}, {"OS_CACERT", c.CAFile}, {"OS_IDENTITY_API_VERSION", "3"},
	}
	var out [][2]string
	for _, v := range all {
		if v[1] != "" {
			out = append(out, v)
		}
	}
	return out
}

// shellQuote makes a word of any text, for every POSIX shell.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
