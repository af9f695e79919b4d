package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

func (a *app) newUserCommand() *cobra.Command {
	return group("user", "Create, look at and change users of an instance", a.newUserCreate(), a.newUserList(), a.newUserShow(), a.newUserDelete(),
		a.newUserGrant(), a.newUserRevoke(), a.newUserPassword())
}

// secretShown is what is printed where a password was made.
type secretShown struct {
	Name     string `json:"name"`
	Host     string `json:"host,omitempty"`
	Password string `json:"password,omitempty"`
}

func (a *app) printSecret(cmd *cobra.Command, s secretShown) error {
	return a.printOne(cmd, s, []pair{{"name", s.Name}, {"host", s.Host}, {"password (shown this once)", s.Password}})
}

// password gives the one that the user chose, or makes one; made is it then, to be shown.
func (a *app) password(cmd *cobra.Command, f secretFlags, question string) (password, made string, err error) {
	if password, err = a.readSecret(cmd, f, question); err != nil || password != "" {
		return password, "", err
	}
	made = generate()
	return made, made, nil
}

func (a *app) newUserCreate() *cobra.Command {
	var secret secretFlags
	var host string
	var databases []string
	cmd := &cobra.Command{
		Use:   "create INSTANCE USER",
		Short: "Create a user",
		Long:  "Create a user with all rights on the databases of --database. A password is made and shown once, unless it is given.",
		Example: `  huker user create shop app --database shop
  huker user create shop report --host 10.0.0.% --ask-password`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, i, err := a.holder(cmd, args[0])
			if err != nil {
				return err
			}
			password, made, err := a.password(cmd, secret, "Password for user "+args[1]+": ")
			if err != nil {
				return err
			}
			u := client.NewUser{Name: args[1], Host: host, Password: password}
			for _, d := range databases {
				u.Databases = append(u.Databases, client.Database{Name: d})
			}
			if err := c.CreateUser(cmd.Context(), i.ID, u); err != nil {
				return err
			}
			return a.printSecret(cmd, secretShown{u.Name, first(host, "%"), made})
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "where the user may come from (default: everywhere)")
	cmd.Flags().StringSliceVar(&databases, "database", nil, "database to give all rights on; can be repeated")
	secret.register(cmd)
	return cmd
}

func databaseNames(u client.User) string {
	var out []string
	for _, d := range u.Databases {
		out = append(out, d.Name)
	}
	return strings.Join(out, ", ")
}

func (a *app) newUserList() *cobra.Command {
	return &cobra.Command{
		Use:               "list INSTANCE",
		Short:             "List the users of an instance",
		Example:           "  huker user list shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, i, err := a.holder(cmd, args[0])
			if err != nil {
				return err
			}
			users, err := c.Users(cmd.Context(), i.ID)
			if err != nil {
				return err
			}
			var rows [][]any
			for _, u := range users {
				rows = append(rows, []any{u.Name, u.Host, databaseNames(u)})
			}
			return a.printList(cmd, users, []string{"name", "host", "databases"}, rows)
		},
	}
}

// onUser makes a command that works on a user that exists: INSTANCE USER [more].
func (a *app) onUser(use, short, example string, args cobra.PositionalArgs,
	run func(cmd *cobra.Command, c *client.Client, i client.Instance, u client.User, more []string) error,
) *cobra.Command {
	third := nothing
	if strings.Contains(use, "DATABASE") {
		third = schemaNames
	}
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: args, ValidArgsFunction: a.within(userNames, third),
		Long: short + ". USER is a name, or NAME@HOST where several users have the name.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, i, err := a.holder(cmd, args[0])
			if err != nil {
				return err
			}
			u, err := a.user(cmd.Context(), c, i.ID, args[1])
			if err != nil {
				return err
			}
			return run(cmd, c, i, u, args[2:])
		},
	}
}

func (a *app) newUserShow() *cobra.Command {
	return a.onUser("show INSTANCE USER", "Show a user", "  huker user show shop app", cobra.ExactArgs(2),
		func(cmd *cobra.Command, _ *client.Client, _ client.Instance, u client.User, _ []string) error {
			return a.printOne(cmd, u, []pair{{"name", u.Name}, {"host", u.Host}, {"databases", databaseNames(u)}})
		})
}

func (a *app) newUserDelete() *cobra.Command {
	var yes bool
	cmd := a.onUser("delete INSTANCE USER", "Delete a user", "  huker user delete shop app --yes", cobra.ExactArgs(2),
		func(cmd *cobra.Command, c *client.Client, i client.Instance, u client.User, _ []string) error {
			if err := a.confirm(cmd, yes, fmt.Sprintf("Delete user %s of instance %s?", printable(u.String()), printable(i.Name))); err != nil {
				return err
			}
			return c.DeleteUser(cmd.Context(), i.ID, u.Name, u.Host)
		})
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) newUserGrant() *cobra.Command {
	return a.onUser("grant INSTANCE USER DATABASE...", "Give a user all rights on databases", "  huker user grant shop app orders", cobra.MinimumNArgs(3),
		func(cmd *cobra.Command, c *client.Client, i client.Instance, u client.User, databases []string) error {
			return c.Grant(cmd.Context(), i.ID, u.Name, u.Host, databases...)
		})
}

func (a *app) newUserRevoke() *cobra.Command {
	return a.onUser("revoke INSTANCE USER DATABASE...", "Take a user's rights on databases back", "  huker user revoke shop app orders", cobra.MinimumNArgs(3),
		func(cmd *cobra.Command, c *client.Client, i client.Instance, u client.User, databases []string) error {
			for _, d := range databases {
				if err := c.Revoke(cmd.Context(), i.ID, u.Name, u.Host, d); err != nil {
					return err
				}
			}
			return nil
		})
}

func (a *app) newUserPassword() *cobra.Command {
	var secret secretFlags
	cmd := a.onUser("password INSTANCE USER", "Give a user a new password: one that is made and shown once, unless it is given",
		"  huker user password shop app\n  huker user password shop app --ask-password", cobra.ExactArgs(2),
		func(cmd *cobra.Command, c *client.Client, i client.Instance, u client.User, _ []string) error {
			password, made, err := a.password(cmd, secret, "New password for user "+u.Name+": ")
			if err != nil {
				return err
			}
			if err := c.SetUserPassword(cmd.Context(), i.ID, u.Name, u.Host, password); err != nil {
				return err
			}
			return a.printSecret(cmd, secretShown{u.Name, u.Host, made})
		})
	secret.register(cmd)
	return cmd
}

func (a *app) newRootUserCommand() *cobra.Command {
	return group("root", "Open and shut the superuser of an instance", a.newRootEnable(), a.newRootDisable(), a.newRootShow())
}

func (a *app) newRootEnable() *cobra.Command {
	var secret secretFlags
	cmd := &cobra.Command{
		Use:               "enable INSTANCE",
		Short:             "Let root sign in, or give root a new password",
		Long:              "Let root sign in, or give root a new password. One is made and shown once, unless it is given.",
		Example:           "  huker root enable shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, i, err := a.holder(cmd, args[0])
			if err != nil {
				return err
			}
			given, err := a.readSecret(cmd, secret, "Password for root: ")
			if err != nil {
				return err
			}
			password, err := c.EnableRoot(cmd.Context(), i.ID, given)
			if err != nil {
				return err
			}
			if given != "" {
				password = "" // it is known
			}
			return a.printSecret(cmd, secretShown{Name: "root", Password: password})
		},
	}
	secret.register(cmd)
	return cmd
}

func (a *app) newRootDisable() *cobra.Command {
	return &cobra.Command{
		Use:               "disable INSTANCE",
		Short:             "Shut root out",
		Example:           "  huker root disable shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, i, err := a.holder(cmd, args[0])
			if err != nil {
				return err
			}
			return c.DisableRoot(cmd.Context(), i.ID)
		},
	}
}

func (a *app) newRootShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show INSTANCE",
		Short:             "Say whether root can sign in",
		Example:           "  huker root show shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, i, err := a.holder(cmd, args[0])
			if err != nil {
				return err
			}
			enabled, err := c.RootEnabled(cmd.Context(), i.ID)
			if err != nil {
				return err
			}
			return a.printOne(cmd, map[string]bool{"enabled": enabled}, []pair{{"root enabled", enabled}})
		},
	}
}
