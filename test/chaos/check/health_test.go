package check

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRecovery(t *testing.T) {
	ill := []string{"b is away"}
	for name, c := range map[string]struct {
		checkups []Checkup
		want     int
		wrong    string
	}{
		"at once":                  {[]Checkup{{1, ill}, {12, nil}, {13, nil}}, 2, ""},
		"after a while":            {[]Checkup{{12, ill}, {19, nil}, {25, nil}}, 9, ""},
		"ill again":                {[]Checkup{{12, nil}, {13, ill}, {15, nil}}, 5, ""},
		"never":                    {[]Checkup{{12, ill}, {90, ill}}, 0, "b is away"},
		"ill at the end":           {[]Checkup{{12, nil}, {90, ill}}, 0, "b is away"},
		"too late":                 {[]Checkup{{12, ill}, {31, nil}}, 21, "b is away"},
		"well before, then silent": {[]Checkup{{1, nil}}, 0, "nobody has asked"},
		"nobody asked":             {nil, 0, "nobody has asked"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Recovery(c.checkups, 10, 20)
			require.EqualValues(t, c.want, got)
			if c.wrong == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.wrong)
			}
		})
	}
}
