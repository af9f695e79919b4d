// Command huker-sysmgr is one of the processes of a fleet: see --help.
package main

import (
	"os"

	"github.com/huker/huker/internal/daemon"
)

var version = "dev" // set when it is built

func main() { os.Exit(daemon.Main(daemon.Sysmgr(version))) }
