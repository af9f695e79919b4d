package check

import (
	"fmt"
	"strings"
	"time"
)

// Checkup is what was wrong with a cluster at some time; the time is when it was asked.
type Checkup struct {
	At       time.Duration
	Problems []string
}

// Recovery gives how long after a moment a cluster was well, and stayed so until the last checkup. An error says what was still wrong after the
// time that it may take.
func Recovery(checkups []Checkup, after, limit time.Duration) (time.Duration, error) {
	var well time.Duration
	isWell, asked := false, false
	var last []string
	for _, c := range checkups {
		if c.At < after {
			continue
		}
		asked = true
		if len(c.Problems) > 0 {
			isWell, last = false, c.Problems
			continue
		}
		if !isWell {
			isWell, well = true, c.At
		}
	}
	switch {
	case !asked:
		return 0, fmt.Errorf("nobody has asked how the cluster is after %s", after)
	case !isWell:
		return 0, fmt.Errorf("the cluster did not get well: %s", strings.Join(last, "; "))
	case well-after > limit:
		return well - after, fmt.Errorf("the cluster got well only after %s; before that: %s", well-after, strings.Join(last, "; "))
	}
	return well - after, nil
}
