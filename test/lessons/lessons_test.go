package lessons

import (
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/huker/huker/test/plane"
)

// lesson is a scenario. Its name begins with its rows.
type lesson struct {
	name string
	pace pace
	run  func(*scenario)
}

// pace says when a scenario is played: always, or with HUKER_LESSONS=all only.
type pace bool

const (
	quick pace = false
	slow  pace = true
)

// wanted says whether a scenario is to be played now.
func (p pace) wanted() bool { return p == quick || os.Getenv("HUKER_LESSONS") == "all" }

// suite is one run of all: one control plane, and a cluster for each shape.
type suite struct {
	t    *testing.T
	once sync.Once
	made *plane.Plane
}

// plane is of the whole run, whoever needs it first.
func (s *suite) plane(t *testing.T) *plane.Plane {
	t.Helper()
	s.once.Do(func() { s.made = plane.Start(s.t) })
	if s.made == nil {
		t.Fatal("there is no control plane")
	}
	return s.made
}

// TestLessons: on real servers, what has lost others acknowledged writes loses none here, and what others' users suffer from does not come about. Clusters of
// different shapes go through their scenarios beside each other; those in which the control plane itself is struck come after.
func TestLessons(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: it takes minutes")
	}
	s := &suite{t: t}
	three, two := &shared{size: 3, suite: s}, &shared{size: 2, suite: s}
	play := func(l *shared, lessons []lesson) {
		for _, one := range lessons {
			t.Run(one.name, func(t *testing.T) {
				if !one.pace.wanted() {
					t.Skip("SKIPPED, NOT TESTED: it takes long; HUKER_LESSONS=all has it played")
				}
				l.play(t, one.run)
			})
		}
	}
	var beside sync.WaitGroup
	beside.Go(func() { play(three, slices.Concat(losses, pains)) })
	beside.Go(func() { play(two, pairs) })
	beside.Wait()
	play(three, outages)
}
