package images

import (
	"bufio"
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// HostMirror gives the Debian mirror that this machine's apt uses, from its configuration below dir ("/etc/apt"); "" when there
// is none, as in a container of Huker's or on another distribution.
func HostMirror(dir string) (string, error) {
	files := []string{filepath.Join(dir, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(dir, "sources.list.d", pattern))
		if err != nil {
			return "", fmt.Errorf("listing apt's sources: %w", err)
		}
		files = append(files, more...)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("reading apt's sources: %w", err)
		}
		parse := parseOneLine
		if strings.HasSuffix(f, ".sources") {
			parse = parseDeb822
		}
		if m := firstMirror(parse(data)); m != "" {
			return m, nil
		}
	}
	return "", nil
}

// aptSource is a repository in apt's configuration.
type aptSource struct {
	types, uris, suites, components []string
}

// debianSuites tell Debian's own archive from others that a machine may have besides. Security and updates are not a whole archive.
func debianSuites() []string {
	return []string{"oldoldstable", "oldstable", "stable", "testing", "unstable", "sid", "buster", "bullseye", "bookworm", "trixie", "forky", "duke"}
}

func firstMirror(sources []aptSource) string {
	for _, s := range sources {
		whole := slices.ContainsFunc(s.suites, func(n string) bool { return slices.Contains(debianSuites(), n) })
		if !whole || !slices.Contains(s.types, "deb") || !slices.Contains(s.components, "main") {
			continue
		}
		for _, uri := range s.uris {
			u, err := url.Parse(uri)
			if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && shellSafe(uri) {
				return strings.TrimSuffix(uri, "/")
			}
		}
	}
	return ""
}

// shellSafe reports whether a URL can be written into sources.list as it is.
func shellSafe(s string) bool { return !strings.ContainsAny(s, " \t\n\"'\\$`;&|<>(){}[]") }

// parseOneLine reads the format of sources.list(5): "deb [option=value] uri suite component...".
func parseOneLine(data []byte) []aptSource {
	var out []aptSource
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if open := strings.Index(line, "["); open >= 0 {
			end := strings.Index(line, "]")
			if end < open {
				continue
			}
			line = line[:open] + " " + line[end+1:]
		}
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		out = append(out, aptSource{types: f[:1], uris: f[1:2], suites: f[2:3], components: f[3:]})
	}
	return out
}

// parseDeb822 reads the format of *.sources: stanzas of "Field: values", set apart by empty lines.
func parseDeb822(data []byte) []aptSource {
	var out []aptSource
	for _, st := range stanzas(data) {
		if strings.EqualFold(st["enabled"], "no") {
			continue
		}
		out = append(out, aptSource{
			types: strings.Fields(st["types"]), uris: strings.Fields(st["uris"]),
			suites: strings.Fields(st["suites"]), components: strings.Fields(st["components"]),
		})
	}
	return out
}

// stanzas reads Debian's control format. Field names are lower-cased; lines that begin with a space continue a field.
func stanzas(data []byte) []map[string]string {
	var out []map[string]string
	cur, field := map[string]string{}, ""
	end := func() {
		if len(cur) > 0 {
			out = append(out, cur)
		}
		cur, field = map[string]string{}, ""
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 4<<20)
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			end()
		case line[0] == ' ' || line[0] == '\t':
			if field != "" {
				cur[field] += "\n" + strings.TrimSpace(line)
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				field = ""
				continue
			}
			field = strings.ToLower(strings.TrimSpace(name))
			cur[field] = strings.TrimSpace(value)
		}
	}
	end()
	return out
}
