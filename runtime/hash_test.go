package runtime_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

func full() runtime.Spec {
	return runtime.Spec{
		Name: "a", Image: "i", Entrypoint: []string{"e"}, Args: []string{"x", ""}, Env: []string{"A=1"}, User: "1:1",
		Labels: map[string]string{"l": "1", "m": "2"}, Hostname: "h", Network: "n", Address: "10.0.0.9",
		Mounts: []runtime.Mount{
			{Kind: runtime.MountVolume, Source: "v", Target: "/v", ReadOnly: true},
			{Kind: runtime.MountMemory, Target: "/m", SizeMB: 1, UID: 2, GID: 3, Mode: 0o700},
		},
		ReadOnly: true, DropCaps: []string{"ALL"}, AddCaps: []string{"NET_ADMIN"}, NoNewPrivs: true, Restart: true,
		StopGrace: time.Second, LogMaxMB: 3,
	}
}

func TestHashSeesEveryFieldButLimits(t *testing.T) {
	t.Parallel()
	base := full()
	seen := map[string]string{base.Hash(): "the whole"}
	v := reflect.ValueOf(&base).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		changed := full()
		f := reflect.ValueOf(&changed).Elem().Field(i)
		f.SetZero()
		if name == "Limits" {
			changed.Limits = runtime.Limits{CPUs: 3, MemoryMB: 4, Pids: 5}
			require.Equal(t, base.Hash(), changed.Hash(), "limits change while a container lives")
			continue
		}
		require.Empty(t, seen[changed.Hash()], "%s does not count", name)
		seen[changed.Hash()] = name
	}
	for name, change := range map[string]func(*runtime.Spec){
		"an empty argument less": func(s *runtime.Spec) { s.Args = s.Args[:1] },
		"a mount's mode":         func(s *runtime.Spec) { s.Mounts[1].Mode = 0o755 },
		"a label's value":        func(s *runtime.Spec) { s.Labels["m"] = "3" },
		"mounts the other way":   func(s *runtime.Spec) { s.Mounts[0], s.Mounts[1] = s.Mounts[1], s.Mounts[0] },
	} {
		changed := full()
		change(&changed)
		require.Empty(t, seen[changed.Hash()], "%s does not count", name)
		seen[changed.Hash()] = name
	}
}

// A container made by an older version is still recognised: nil, empty and unset are the same.
func TestHashIgnoresWhatIsNotSet(t *testing.T) {
	t.Parallel()
	a := runtime.Spec{Name: "a", Image: "i"}
	b := runtime.Spec{Name: "a", Image: "i", Args: []string{}, Labels: map[string]string{}, Mounts: []runtime.Mount{}}
	require.Equal(t, a.Hash(), b.Hash())
	require.Equal(t, "778e2888", a.Hash()[:8], "a pinned value: a change of it makes every existing container look like another")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, full().Validate())
	for name, change := range map[string]func(*runtime.Spec){
		"no name":               func(s *runtime.Spec) { s.Name = "" },
		"name with a slash":     func(s *runtime.Spec) { s.Name = "../a" },
		"name with a dash":      func(s *runtime.Spec) { s.Name = "-a" },
		"name too long":         func(s *runtime.Spec) { s.Name = strings.Repeat("a", 300) },
		"no image":              func(s *runtime.Spec) { s.Image = "" },
		"IPv6":                  func(s *runtime.Spec) { s.Address = "::1" },
		"address, no network":   func(s *runtime.Spec) { s.Network = "" },
		"address of the host":   func(s *runtime.Spec) { s.Network = "host" },
		"negative limits":       func(s *runtime.Spec) { s.Limits.CPUs = -1 },
		"the owner's label":     func(s *runtime.Spec) { s.Labels[runtime.OwnerLabel] = "me" },
		"the spec's label":      func(s *runtime.Spec) { s.Labels[runtime.SpecLabel] = "x" },
		"relative target":       func(s *runtime.Spec) { s.Mounts[0].Target = "v" },
		"two mounts at a place": func(s *runtime.Spec) { s.Mounts[0].Target = "/m" },
		"relative bind":         func(s *runtime.Spec) { s.Mounts[0].Kind, s.Mounts[0].Source = runtime.MountBind, "x" },
		"volume name":           func(s *runtime.Spec) { s.Mounts[0].Source = "/etc" },
		"kind of mount":         func(s *runtime.Spec) { s.Mounts[0].Kind = "nfs" },
	} {
		s := full()
		change(&s)
		require.ErrorIs(t, s.Validate(), runtime.ErrInvalid, name)
	}
}
