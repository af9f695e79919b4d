package images

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

//go:embed versions.yaml
var versionsYAML []byte

// SourceKind says where an engine's programs come from.
type SourceKind string

// Kinds of source.
const (
	SourceDebian SourceKind = "debian"
	SourceStock  SourceKind = "stock"
)

// Source is where an engine's programs come from.
type Source struct {
	Kind     SourceKind `yaml:"kind" json:"kind"`
	Suite    string     `yaml:"suite" json:"suite,omitempty"`
	Packages []string   `yaml:"packages" json:"packages,omitempty"`
	Without  []string   `yaml:"without" json:"without,omitempty"`
	Image    string     `yaml:"image" json:"image,omitempty"`
}

// Entry is an image that can be made.
type Entry struct {
	Engine  string `yaml:"engine" json:"engine"`
	Version string `yaml:"version" json:"version"` // the series: "9.7"
	Build   bool   `yaml:"build" json:"-"`
	Source  Source `yaml:"source" json:"source"`
}

// String is the entry's name as the command line takes it: "mysql:9.7".
func (e Entry) String() string { return e.Engine + ":" + e.Version }

// Catalogue is versions.yaml.
type Catalogue struct {
	Images []Entry `yaml:"images"`
}

// Names are as strict as they are because they become image references, package names and shell words.
var (
	engineName  = regexp.MustCompile(`^[a-z][a-z0-9]{0,30}$`)
	versionName = regexp.MustCompile(`^[0-9]{1,4}(\.[0-9]{1,4}){0,3}$`)
	suiteName   = regexp.MustCompile(`^[a-z][a-z0-9-]{1,30}$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,80}$`)
	imageRef    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}$`)
)

// Load gives the catalogue that was built into the program.
func Load() (Catalogue, error) { return Parse(versionsYAML) }

// Parse reads a catalogue and refuses what it does not know.
func Parse(data []byte) (Catalogue, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	var c Catalogue
	if err := d.Decode(&c); err != nil {
		return Catalogue{}, fmt.Errorf("reading versions.yaml: %w", err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return Catalogue{}, errors.New("reading versions.yaml: more than one document")
	}
	if len(c.Images) == 0 {
		return Catalogue{}, errors.New("reading versions.yaml: no images")
	}
	seen := make(map[string]bool, len(c.Images))
	for i, e := range c.Images {
		if err := e.validate(); err != nil {
			return Catalogue{}, fmt.Errorf("reading versions.yaml: image %d (%s): %w", i+1, e, err)
		}
		if seen[e.String()] {
			return Catalogue{}, fmt.Errorf("reading versions.yaml: image %d: %s is there twice", i+1, e)
		}
		seen[e.String()] = true
	}
	return c, nil
}

// Find gives the entry that name ("mysql:9.7", or "mysql" for the first of that engine) stands for.
func (c Catalogue) Find(name string) (Entry, error) {
	engine, version, exact := strings.Cut(name, ":")
	known := make([]string, 0, len(c.Images))
	for _, e := range c.Images {
		if e.Engine == engine && (!exact || e.Version == version) {
			return e, nil
		}
		known = append(known, e.String())
	}
	return Entry{}, fmt.Errorf("%w: %q (known: %s)", ErrUnknown, name, strings.Join(known, ", "))
}

// Built gives the entries that are made when nothing is named.
func (c Catalogue) Built() []Entry {
	var es []Entry
	for _, e := range c.Images {
		if e.Build {
			es = append(es, e)
		}
	}
	return es
}

func (e Entry) validate() error {
	switch {
	case !engineName.MatchString(e.Engine):
		return fmt.Errorf("engine %q is not a short lower-case name", e.Engine)
	case e.Engine != engineMySQL:
		return fmt.Errorf("engine %q is not supported (only %q is)", e.Engine, engineMySQL)
	case !versionName.MatchString(e.Version):
		return fmt.Errorf("version %q is not a series such as \"9.7\" (is it quoted?)", e.Version)
	}
	s := e.Source
	switch s.Kind {
	case SourceDebian:
		return s.validateDebian()
	case SourceStock:
		if len(s.Packages) > 0 || len(s.Without) > 0 || s.Suite != "" {
			return errors.New("a stock source has an image only: no suite, packages or without")
		}
		if !imageRef.MatchString(s.Image) {
			return fmt.Errorf("image %q is not an image reference", s.Image)
		}
		return nil
	case "":
		return errors.New("source.kind is missing")
	}
	return fmt.Errorf("source.kind %q is neither %q nor %q", s.Kind, SourceDebian, SourceStock)
}

func (s Source) validateDebian() error {
	switch {
	case s.Image != "":
		return errors.New("a debian source has no image")
	case !suiteName.MatchString(s.Suite):
		return fmt.Errorf("suite %q is not the name of a Debian suite", s.Suite)
	case len(s.Packages) == 0:
		return errors.New("a debian source needs packages")
	}
	for _, list := range [][]string{s.Packages, s.Without} {
		for _, p := range list {
			if !packageName.MatchString(p) {
				return fmt.Errorf("%q is not the name of a package", p)
			}
		}
	}
	return nil
}
