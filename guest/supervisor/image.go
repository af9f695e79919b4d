package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/huker/huker/guest/mycnf"
	"github.com/huker/huker/guest/paths"
)

// programs are where packages put mysqld: Debian's, Oracle's images, its archives.
var programs = []string{"/usr/sbin/mysqld", "/usr/bin/mysqld", "/usr/local/mysql/bin/mysqld", "/usr/libexec/mysqld"}

// pluginDirs are where they put its plugins.
var pluginDirs = []string{"/usr/lib/mysql/plugin", "/usr/lib64/mysql/plugin", "/usr/local/mysql/lib/plugin"}

func findMysqld() (string, error) {
	for _, p := range programs {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			return p, nil
		}
	}
	return "", fmt.Errorf("the image has no mysqld (looked for %s)", strings.Join(programs, ", "))
}

// findPlugins names the directory of plugins, and those of the wanted ones that are in it.
func findPlugins() (dir string, found []string) {
	for _, d := range pluginDirs {
		for _, name := range mycnf.Wanted() {
			if _, err := os.Stat(filepath.Join(d, name+".so")); err == nil {
				found = append(found, name)
			}
		}
		if len(found) > 0 {
			return d, found
		}
	}
	return "", nil
}

func hasTLS(p paths.Paths) bool {
	for _, f := range []string{paths.FileCA, paths.FileServerCert, paths.FileServerKey} {
		if _, err := os.Stat(p.Secret(f)); err != nil {
			return false
		}
	}
	return true
}

// nativeAIOFrom is the memory from which on a server is given native asynchronous I/O.
const nativeAIOFrom = 8192

// roomForAIO reports whether the host has events left for this server and three more, since others may be starting at this moment. A
// server that finds none does not start; it is asked again before the next attempt.
func roomForAIO(memMB int, cpus float64) bool {
	if memMB < nativeAIOFrom {
		return false
	}
	used, err1 := readInt("/proc/sys/fs/aio-nr")
	limit, err2 := readInt("/proc/sys/fs/aio-max-nr")
	return err1 == nil && err2 == nil && used+4*mycnf.AIOEvents(cpus) <= limit
}

func readInt(path string) (int, error) {
	b, err := os.ReadFile(path) // #nosec G304 -- below /proc
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
