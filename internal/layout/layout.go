// Package layout holds the rules of who may import whom, so that the parts stay apart.
//
// It owns the rules and their check; its test runs them over this module. It must not know how a list of packages is made, so that
// the check can be shown a bad one.
package layout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Package is a package of the module. Paths of the module's own packages are relative to it ("internal/model"); others are as they are.
type Package struct {
	Path        string
	Imports     []string // of its code
	TestImports []string // of its tests only
}

// Graph is the module's packages by path, with every package outside it that is known, if its imports are to be followed.
type Graph map[string]Package

// Violation is a broken rule.
type Violation struct {
	Rule    string
	Package string
	Chain   []string // from Package to what it must not import
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s", v.Rule, strings.Join(v.Chain, " -> "))
}

// in reports whether path is root or lies below it.
func in(path string, roots ...string) bool {
	for _, root := range roots {
		if path == root || strings.HasPrefix(path, root+"/") {
			return true
		}
	}
	return false
}

// forTests reports whether a package is only ever linked into tests.
func forTests(path string) bool {
	last := path[strings.LastIndex(path, "/")+1:]
	return in(path, "test", "internal/testenv") || len(last) > len("test") && strings.HasSuffix(last, "test")
}

// interfaces are the packages that everybody speaks: below each lie its engines.
func interfaces() []string {
	return []string{"internal/metastore", "internal/coord", "internal/bus", "internal/objectstore", "runtime"}
}

// engineOf gives the interface that a package implements, and "" when it is no engine.
func engineOf(path string) string {
	for _, i := range interfaces() {
		if in(path, i) && path != i && !forTests(path) {
			return i
		}
	}
	return ""
}

// nouns may be imported by everybody, and import nothing but each other.
func nouns() []string {
	return append(interfaces(), "internal/protocol", "internal/model", "internal/fault", "internal/gtid", "internal/durability", "internal/failover")
}

// far says that from must not reach any of to, however many packages lie between.
type far struct{ from, to []string }

func farRules() []far {
	return []far{
		// model <- gtid <- durability <- failover
		{[]string{"internal/model"}, []string{"internal/gtid", "internal/durability", "internal/failover"}},
		{[]string{"internal/gtid"}, []string{"internal/durability", "internal/failover"}},
		{[]string{"internal/durability"}, []string{"internal/failover"}},
		{[]string{"internal/objectstore"}, []string{"internal/backup"}},
		// What runs beside a database knows nothing of what runs the fleet.
		{[]string{"guest"}, []string{"api", "internal/keeper", "internal/sysmgr"}},
		// What is put into every container stays small, and cannot reach what it has no business with.
		{[]string{"cmd/huker-guestagent", "cmd/huker-supervisor"}, []string{
			"go.etcd.io/etcd/server/v3", "modernc.org/sqlite", "github.com/docker/docker", "github.com/moby/moby",
			"github.com/prometheus/prometheus", "internal/metastore/sqlite", "internal/metastore/mysql",
		}},
	}
}

// near says which imports of one package are wrong. inTest is whether only its tests have the import.
type near struct {
	rule   string
	forbid func(from, to string, inTest bool) bool
}

func nearRules() []near {
	own := []string{"api", "cmd", "guest", "images", "internal", "network", "runtime", "test"}
	return []near{
		{"an interface package imports nouns only", func(from, to string, inTest bool) bool {
			return slices.Contains(nouns(), from) && in(to, own...) && !slices.Contains(nouns(), to) &&
				!(inTest && (in(to, from) || forTests(to)))
		}},
		{"runtime/ and network/ import nothing of Huker's but each other's nouns", func(from, to string, inTest bool) bool {
			return in(from, "runtime", "network") && in(to, own...) && !in(to, "runtime", "network") &&
				!((inTest || forTests(from)) && in(to, "internal/testenv"))
		}},
		// internal/cli is the body of cmd/huker, whose main must be short. One engine may be built on another: the bus of one machine lives on the etcd that is there anyway.
		{"an engine is chosen by internal/engines, internal/controlplane, cmd/ and tests only", func(from, to string, inTest bool) bool {
			return engineOf(to) != "" && !inTest && !forTests(from) && !in(from, "internal/engines", "internal/controlplane", "internal/cli", "cmd") &&
				engineOf(from) == ""
		}},
		{"what is for tests is imported by tests only", func(from, to string, inTest bool) bool {
			return in(to, own...) && forTests(to) && !inTest && !forTests(from)
		}},
		{"nothing imports cmd/", func(_, to string, _ bool) bool { return in(to, "cmd") }},
	}
}

// Check gives all violations, by package.
func Check(g Graph) []Violation {
	var vs []Violation
	for _, path := range slices.Sorted(maps.Keys(g)) {
		vs = append(vs, checkNear(g[path])...)
		for _, r := range farRules() {
			if !in(path, r.from...) {
				continue
			}
			if chain := g.reach(path, r.to); chain != nil {
				vs = append(vs, Violation{"must not be reached, not even by others", path, chain})
			}
		}
	}
	return vs
}

func checkNear(p Package) []Violation {
	var vs []Violation
	for _, r := range nearRules() {
		for _, to := range p.Imports {
			if r.forbid(p.Path, to, false) {
				vs = append(vs, Violation{r.rule, p.Path, []string{p.Path, to}})
			}
		}
		for _, to := range p.TestImports {
			if r.forbid(p.Path, to, true) {
				vs = append(vs, Violation{r.rule + " (in its tests)", p.Path, []string{p.Path, to}})
			}
		}
	}
	return vs
}

// reach gives a shortest chain of imports from one package to one of roots, or nil.
func (g Graph) reach(from string, roots []string) []string {
	came := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for _, to := range g[queue[0]].Imports {
			if _, seen := came[to]; seen {
				continue
			}
			came[to] = queue[0]
			if in(to, roots...) {
				chain := []string{}
				for at := to; at != ""; at = came[at] {
					chain = append(chain, at)
				}
				slices.Reverse(chain)
				return chain
			}
			queue = append(queue, to)
		}
	}
	return nil
}
