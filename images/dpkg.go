package images

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// packages is what dpkg knows of a root file system.
type packages struct {
	stanza map[string]map[string]string // of each installed package
	owner  map[string][]string          // path -> packages that have it
}

// readPackages reads dpkg's database: its status file and its lists of files by file name ("bash.list", "libc6:amd64.list").
func readPackages(status []byte, lists map[string][]byte) packages {
	p := packages{stanza: map[string]map[string]string{}, owner: map[string][]string{}}
	for _, st := range stanzas(status) {
		if strings.HasSuffix(st["status"], " installed") {
			p.stanza[st["package"]] = st
		}
	}
	for file, list := range lists {
		name, _, _ := strings.Cut(strings.TrimSuffix(file, ".list"), ":")
		for line := range strings.Lines(string(list)) {
			if f := merged(strings.TrimSpace(line)); f != "" {
				p.owner[f] = append(p.owner[f], name)
			}
		}
	}
	return p
}

// merged gives a path as it is below a merged /usr, relative to the root; dpkg may have it by its old name.
func merged(file string) string {
	file = strings.TrimPrefix(path.Clean("/"+file), "/")
	top, _, below := strings.Cut(file, "/")
	switch top {
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		if below {
			return "usr/" + file
		}
	}
	return file
}

// needed gives roots and all that they depend on, without what is cut. What satisfies a dependency is what is installed.
func (p packages) needed(roots, cut []string) (map[string]bool, error) {
	providers := map[string][]string{}
	for name, st := range p.stanza {
		for _, virtual := range dependencies(st["provides"]) {
			for _, v := range virtual {
				providers[v] = append(providers[v], name)
			}
		}
	}
	keep := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if keep[name] || slices.Contains(cut, name) {
			return
		}
		if _, ok := p.stanza[name]; !ok {
			return
		}
		keep[name] = true
		for _, field := range []string{"depends", "pre-depends"} {
			for _, alternatives := range dependencies(p.stanza[name][field]) {
				for _, a := range alternatives {
					visit(a)
					for _, provider := range providers[a] {
						visit(provider)
					}
				}
			}
		}
	}
	for _, r := range roots {
		if _, ok := p.stanza[r]; !ok {
			return nil, fmt.Errorf("package %s is not installed", r)
		}
		visit(r)
	}
	return keep, nil
}

// dependencies reads "a (>= 1) | b:any, c" as {{a, b}, {c}}.
func dependencies(field string) [][]string {
	var out [][]string
	for _, group := range strings.Split(field, ",") {
		var alternatives []string
		for _, a := range strings.Split(group, "|") {
			name, _, _ := strings.Cut(strings.TrimSpace(a), " ")
			name, _, _ = strings.Cut(name, ":")
			if name, _, _ = strings.Cut(name, "("); name != "" {
				alternatives = append(alternatives, name)
			}
		}
		if len(alternatives) > 0 {
			out = append(out, alternatives)
		}
	}
	return out
}

// drops reports whether a path belongs only to packages that are not kept.
func (p packages) drops(file string, keep map[string]bool) bool {
	owners := p.owner[merged(file)]
	return len(owners) > 0 && !slices.ContainsFunc(owners, func(o string) bool { return keep[o] })
}

// status gives dpkg's status file for the kept packages alone, so that a vulnerability scanner sees what the image really holds.
func (p packages) status(keep map[string]bool) []byte {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(keep)) {
		st := p.stanza[name]
		for _, field := range []string{"Package", "Status", "Source", "Version", "Architecture", "Maintainer", "Depends", "Pre-Depends", "Provides"} {
			if v := st[strings.ToLower(field)]; v != "" {
				fmt.Fprintf(&b, "%s: %s\n", field, strings.ReplaceAll(v, "\n", " "))
			}
		}
		b.WriteString("\n")
	}
	return []byte(b.String())
}
