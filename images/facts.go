package images

import (
	"fmt"
	"strconv"
	"strings"
)

// What every database image holds, and where.
const (
	TemplateDir   = "/usr/share/huker/template"       // a data directory that was never served from
	CatalogueFile = "/usr/share/huker/catalogue.json" // Parameters
	FactsFile     = "/usr/share/huker/image.json"     // Facts
	DataDir       = "/var/lib/mysql"
)

// The user that the server runs as, in every image.
const (
	UID = 999
	GID = 999
)

// Labels of images that this package made.
const (
	LabelKind    = "io.huker.kind" // KindBase, KindDatabase, KindService
	LabelContent = "io.huker.content"
	LabelEngine  = "io.huker.engine"
	LabelSeries  = "io.huker.series"
	LabelVersion = "io.huker.version"
	LabelUID     = "io.huker.uid"
	LabelGID     = "io.huker.gid"
	LabelPlugins = "io.huker.plugins"
	LabelZones   = "io.huker.timezones"
	labelBuild   = "io.huker.build" // on containers of a build; the value is when it began, Unix seconds
)

// Kinds of image.
const (
	KindBase     = "base"
	KindDatabase = "database"
	KindService  = "service"
)

// Facts is what an image says of itself, in FactsFile and in its labels.
type Facts struct {
	Engine  string   `json:"engine"`
	Series  string   `json:"series"`  // "9.7"
	Version string   `json:"version"` // SELECT @@innodb_version: "9.7.4"
	UID     int      `json:"uid"`
	GID     int      `json:"gid"`
	Plugins []string `json:"plugins"`    // that verify loads
	Zones   int      `json:"time_zones"` // that the template's tables name; a stock image need not have any
	Content string   `json:"content"`
}

// ref is the name of the image that these are the facts of.
func (f Facts) ref() string {
	return "huker/" + f.Engine + ":" + f.Version + "-" + f.Content[:min(len(f.Content), 12)]
}

func (f Facts) labels() map[string]string {
	return map[string]string{
		LabelKind: KindDatabase, LabelContent: f.Content, LabelEngine: f.Engine, LabelSeries: f.Series, LabelVersion: f.Version,
		LabelUID: strconv.Itoa(f.UID), LabelGID: strconv.Itoa(f.GID), LabelPlugins: strings.Join(f.Plugins, ","),
		LabelZones: strconv.Itoa(f.Zones),
	}
}

// factsOf reads Facts back from an image's labels.
func factsOf(labels map[string]string) (Facts, error) {
	if labels[LabelKind] != KindDatabase {
		return Facts{}, fmt.Errorf("%w: label %s is %q, not %q", ErrBroken, LabelKind, labels[LabelKind], KindDatabase)
	}
	f := Facts{Engine: labels[LabelEngine], Series: labels[LabelSeries], Version: labels[LabelVersion], Content: labels[LabelContent]}
	for name, n := range map[string]*int{LabelUID: &f.UID, LabelGID: &f.GID, LabelZones: &f.Zones} {
		var err error
		if *n, err = strconv.Atoi(labels[name]); err != nil {
			return Facts{}, fmt.Errorf("%w: label %s: %w", ErrBroken, name, err)
		}
	}
	if p := labels[LabelPlugins]; p != "" {
		f.Plugins = strings.Split(p, ",")
	}
	if f.Engine == "" || f.Version == "" {
		return Facts{}, fmt.Errorf("%w: it has no label %s or %s", ErrBroken, LabelEngine, LabelVersion)
	}
	return f, nil
}
