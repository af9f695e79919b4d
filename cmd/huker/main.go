// Command huker is the command line and, as `huker serve`, the control plane.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/huker/huker/internal/cli"
)

var version = "dev" // set when it is built

func main() {
	if err := cli.NewRoot(version).ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "huker:", err)
		os.Exit(1)
	}
}
