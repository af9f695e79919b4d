package model

import (
	"fmt"
	"strings"
	"time"
)

// ParseVersions reads datastore versions of known images: ENGINE:VERSION=REF, as mysql:9.7.4=registry/mysql:9.7.4.
func ParseVersions(given []string) ([]DatastoreVersion, error) {
	var versions []DatastoreVersion
	for _, g := range given {
		name, ref, ok := strings.Cut(g, "=")
		engine, version, ok2 := strings.Cut(name, ":")
		if !ok || !ok2 || engine == "" || version == "" || ref == "" {
			return nil, fmt.Errorf("%q: want ENGINE:VERSION=REF, as mysql:9.7.4=registry/mysql:9.7.4", g)
		}
		versions = append(versions, DatastoreVersion{Engine: engine, Name: version, Image: ref, Created: time.Now().UTC()})
	}
	return versions, nil
}
