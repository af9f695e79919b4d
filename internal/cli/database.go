package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

func (a *app) newDatabaseCommand() *cobra.Command {
	return group("database", "Create, list and delete databases of an instance", a.newDatabaseCreate(), a.newDatabaseList(), a.newDatabaseDelete())
}

func (a *app) newDatabaseCreate() *cobra.Command {
	var charset, collation string
	cmd := &cobra.Command{
		Use:               "create INSTANCE DATABASE...",
		Short:             "Create databases",
		Example:           "  huker database create shop orders\n  huker database create shop archive --character-set latin1",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, i, err := a.holder(cmd, args[0])
			if err != nil {
				return err
			}
			var ds []client.Database
			for _, name := range args[1:] {
				ds = append(ds, client.Database{Name: name, CharacterSet: charset, Collate: collation})
			}
			if err := c.CreateDatabases(cmd.Context(), i.ID, ds...); err != nil {
				return err
			}
			return a.printDatabases(cmd, ds)
		},
	}
	cmd.Flags().StringVar(&charset, "character-set", "", "character set (default: the server's)")
	cmd.Flags().StringVar(&collation, "collation", "", "collation (default: the character set's)")
	return cmd
}

func (a *app) printDatabases(cmd *cobra.Command, ds []client.Database) error {
	var rows [][]any
	for _, d := range ds {
		rows = append(rows, []any{d.Name})
	}
	return a.printList(cmd, ds, []string{"name"}, rows)
}

func (a *app) newDatabaseList() *cobra.Command {
	return &cobra.Command{
		Use:               "list INSTANCE",
		Short:             "List the databases of an instance",
		Example:           "  huker database list shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, i, err := a.holder(cmd, args[0])
			if err != nil {
				return err
			}
			ds, err := c.Databases(cmd.Context(), i.ID)
			if err != nil {
				return err
			}
			return a.printDatabases(cmd, ds)
		},
	}
}

func (a *app) newDatabaseDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "delete INSTANCE DATABASE...",
		Short:             "Delete databases with all that is in them",
		Example:           "  huker database delete shop orders --yes",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.within(schemaNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, i, err := a.holder(cmd, args[0])
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Delete %s of instance %s with all their data?", printable(strings.Join(args[1:], ", ")), printable(i.Name))
			if err := a.confirm(cmd, yes, question); err != nil {
				return err
			}
			for _, name := range args[1:] {
				if err := c.DeleteDatabase(cmd.Context(), i.ID, name); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
