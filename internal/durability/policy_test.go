package durability

import "testing"

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		policy       Policy
		floor, relay int
	}{
		{Strict, 1, 1}, {Available, 0, 1}, {Fast, 0, 10000}, {"", 1, 1}, {"of a newer version", 1, 1},
	} {
		if c.policy.Floor() != c.floor || c.policy.SyncRelayLog() != c.relay {
			t.Errorf("%q: floor %d, sync_relay_log %d", c.policy, c.policy.Floor(), c.policy.SyncRelayLog())
		}
		for published := range 4 {
			if got := c.policy.InEffect(published); got != max(published, c.floor) {
				t.Errorf("%q: %d published, %d in effect", c.policy, published, got)
			}
		}
	}
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		a, b Policy
		like bool
	}{{Strict, Available, true}, {Available, Strict, true}, {Fast, Fast, true}, {Strict, Fast, false}, {Fast, Available, false}} {
		if c.a.Like(c.b) != c.like {
			t.Errorf("%s and %s", c.a, c.b)
		}
	}
}

func TestDefaultAcks(t *testing.T) {
	for replicas, want := range []int{0, 1, 1, 2, 2, 3} {
		if got := DefaultAcks(replicas); got != want {
			t.Errorf("%d replicas: %d", replicas, got)
		}
	}
}

func TestPublished(t *testing.T) {
	for _, c := range []struct {
		name                          string
		want, replicas, members, acks int
	}{
		{"the default", 0, 2, 2, 1},
		{"the default of four", 0, 4, 4, 2},
		{"as asked for", 2, 2, 2, 2},
		{"one member is left", 2, 2, 1, 1},
		{"none is left", 1, 2, 0, 0},
	} {
		if got := Strict.Published(c.want, c.replicas, c.members); got != c.acks {
			t.Errorf("%s: %d", c.name, got)
		}
	}
}
