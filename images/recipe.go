package images

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
)

//go:embed recipes
var recipeFiles embed.FS

// builderVersion is raised whenever the Go part of a build changes what comes out. It is part of the content hash.
const builderVersion = 3

const engineMySQL = "mysql"

// mysqlPlugin is a plugin that Huker needs of every MySQL.
type mysqlPlugin struct{ Name, Library string }

// neededPlugins are loaded when the catalogue of parameters is read, so that their variables are in it, and by verify.
func neededPlugins() []mysqlPlugin {
	return []mysqlPlugin{
		{"rpl_semi_sync_source", "semisync_source.so"},
		{"rpl_semi_sync_replica", "semisync_replica.so"},
		{"clone", "mysql_clone.so"},
	}
}

// shellPackages stay in an image of Debian packages besides the entry's own: what a person needs who looks into a container, and
// what verify's script needs.
func shellPackages() []string {
	return []string{"base-files", "bash", "coreutils", "dash", "grep", "libc-bin", "ncurses-base", "sed"}
}

// droppedPaths are left out of an image of Debian packages: path.Match patterns; a directory goes with all that is in it.
func droppedPaths() []string {
	return []string{
		"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bug",
		"usr/share/bash-completion", "usr/share/menu", "usr/share/perl*", "usr/share/zoneinfo", "usr/share/gcc", "usr/share/gdb",
		"usr/share/debconf", "usr/share/common-licenses", "usr/share/pixmaps", "usr/share/polkit-1", "usr/share/zsh", "usr/include",
		"usr/lib/*/*.a", "usr/lib/*/gconv", "usr/lib/*/perl*", "usr/lib/locale/C.utf8/LC_COLLATE.gz", "usr/lib/systemd",
		"usr/lib/apt", "usr/lib/dpkg", "usr/lib/mysql-test", "etc/apt", "etc/cron.*", "etc/init.d", "etc/systemd", "etc/logrotate.d",
		"etc/dpkg", "etc/apparmor.d", "etc/alternatives", "etc/rc?.d", "etc/mysql", "var/lib/apt", "var/lib/dpkg/info", "var/lib/dpkg/*-old",
		"var/lib/dpkg/triggers", "var/lib/dpkg/updates", "var/lib/dpkg/alternatives", "var/cache/*", "var/log/*", "var/backups/*",
		// Programs that the agent does not use: each is linked statically against the client library, 7 MB a piece.
		"usr/bin/my_print_defaults", "usr/bin/myisam*", "usr/bin/mysql_*", "usr/bin/mysqladmin", "usr/bin/mysqlbinlog",
		"usr/bin/mysqlcheck", "usr/bin/mysqld_*", "usr/bin/mysqldump*", "usr/bin/mysqlimport", "usr/bin/mysqlshow", "usr/bin/mysqlslap",
		"usr/bin/ibd2sdi", "usr/bin/innochecksum", "usr/bin/perror", "usr/bin/mysqltest*", "usr/bin/comp_err", "usr/bin/bashbug",
		// Plugins that speak to others' services, or that need libraries which `without` leaves out.
		"usr/lib/mysql/plugin/authentication_*_client.so", "usr/lib/mysql/plugin/authentication_webauthn.so",
		"usr/lib/mysql/plugin/*telemetry*.so", "usr/lib/mysql/plugin/libpluginmecab.so", "usr/lib/mysql/plugin/component_mysqlbackup.so",
		// Examples and tests.
		"usr/lib/mysql/plugin/adt_null.so", "usr/lib/mysql/plugin/mypluglib.so", "usr/lib/mysql/plugin/*example*.so",
		"usr/lib/mysql/plugin/*test*.so", "usr/share/mysql/mysql-log-rotate",
	}
}

// alwaysDropped is not part of any image: what the engine puts into a container, and what the build left.
func alwaysDropped() []string {
	return []string{".dockerenv", "dev/*", "proc/*", "sys/*", "tmp/*", "run/*", "huker-build", "var/tmp/*", "root/.*", "var/lib/mysql/*", "usr/sbin/policy-rc.d"}
}

// Content is the hash of all that decides what comes out of a build: the entry, the recipes and the builder, but no time. Two
// builds of the same content may differ in the exact version of the packages; the newer one wins.
func (e Entry) Content() (string, error) {
	entry, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("encoding entry %s: %w", e, err)
	}
	rules, err := json.Marshal([]any{builderVersion, neededPlugins(), shellPackages(), droppedPaths(), alwaysDropped(), baseVersion})
	if err != nil {
		return "", fmt.Errorf("encoding the rules: %w", err)
	}
	return hashFiles(recipeFiles, "recipes", entry, rules)
}

// hashFiles hashes parts and then all files below dir, each with its name and length, so that nothing can slide from one into the next.
func hashFiles(files fs.FS, dir string, parts ...[]byte) (string, error) {
	h := sha256.New()
	add := func(name string, data []byte) { fmt.Fprintf(h, "%d:%s%d:", len(name), name, len(data)); h.Write(data) }
	for i, p := range parts {
		add(fmt.Sprint(i), p)
	}
	err := fs.WalkDir(files, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		add(name, data)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("hashing %s: %w", dir, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// recipe gives the text of a script.
func recipe(name string) (string, error) {
	data, err := recipeFiles.ReadFile("recipes/" + name)
	if err != nil {
		return "", fmt.Errorf("reading the recipe: %w", err)
	}
	return string(data), nil
}
