package replication

import (
	"errors"
	"testing"

	"github.com/huker/huker/internal/gtid"
)

func TestAccount(t *testing.T) {
	t.Parallel()
	const instance = "78AB1BD9-e39c-4e6f-a69b-b7fdb633cd17"
	got, err := Account(instance)
	if err != nil || got != "huker_r_78ab1bd9e39c4e6fa69bb7" || len(got) > 32 {
		t.Errorf("%q, %v", got, err)
	}
	if names := namesOf([]string{instance, "a"}); names.of(got) != instance || names.of("somebody") != "somebody" {
		t.Errorf("%v", names)
	}
	for _, bad := range []string{"", "a", "78ab1bd9-e39c-4e6f-a69b-b7fdb633cd1", instance + "0", "'; DROP USER root; --"} {
		if got, err := Account(bad); !errors.Is(err, ErrInstance) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
}

func TestParseOwned(t *testing.T) {
	t.Parallel()
	const a, b = "47ccec5f-e759-11f1-a94a-0242ac130002", "d493f531-e761-11f1-8aaa-0242ac130002"
	for text, want := range map[string]string{
		"":                              "",
		a + ":4#21":                     a + ":4",
		a + ":5#22:4#21":                a + ":4-5",
		a + ":5#22:4#21\n" + b + ":1#7": a + ":4-5," + b + ":1",
		a + ":5#22,\n" + b + ":1#7":     a + ":5," + b + ":1",
		a + ":5#22" + b + ":1#7":        a + ":5," + b + ":1",
		b + ":5#224:4#2" + a + ":1#7":   b + ":4-5," + a + ":1",
		a + ":tag:5#22":                 a + ":tag:5",
	} {
		got, err := parseOwned(text)
		set, wrong := gtid.Parse(want)
		if err != nil || wrong != nil || !got.Equal(set) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	if _, err := parseOwned("nonsense#1"); err == nil {
		t.Error("nonsense is taken")
	}
}
