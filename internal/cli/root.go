// Package cli is the huker program: its commands and how they speak to people.
package cli

import "github.com/spf13/cobra"

// NewRoot gives the program's root command.
func NewRoot(version string) *cobra.Command {
	root := &cobra.Command{
		Use: "huker", Short: "A relational database service on your own Docker hosts", Version: version,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(newServeCommand(version))
	return root
}
