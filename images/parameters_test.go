package images

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const cannedRows = `{"name": "max_connections", "scope": "GLOBAL", "type": "Integer", "min": "1", "max": "100000", "documentation": "The number of\nclients ", "global": "151", "session": "151", "source": "COMPILED"}
{"name": "datadir", "scope": "GLOBAL", "type": "String", "min": "0", "max": "0", "documentation": "Path", "global": "/d/", "session": "/d/", "source": "COMMAND_LINE"}
{"name": "binlog_format", "scope": "SESSION", "type": "Enumeration", "min": "0", "max": "0", "documentation": "ROW writes. MIXED writes", "global": "ROW", "session": "ROW", "source": "COMPILED"}
{"name": "event_scheduler", "scope": "GLOBAL", "type": "Enumeration", "documentation": "Possible values are ON, OFF, and DISABLED (keep)", "global": "ON", "session": "ON", "source": "COMPILED"}
{"name": "insert_id", "scope": "SESSION_ONLY", "type": "Integer", "min": null, "max": null, "documentation": "", "global": null, "session": "0", "source": "COMPILED"}
`

func TestParseParameters(t *testing.T) {
	p, err := parseParameters("mysql", "9.7.4", probe{
		variables: []byte(cannedRows),
		probed:    []byte("binlog_format\ndatadir\nevent_scheduler\nmax_connections\n"),
		refused: []byte("ERROR 1238 (HY000) at line 2: Variable 'datadir' is a read only variable\n" +
			"ERROR 1231 (42000) at line 1: Variable 'binlog_format' can't be set\nto itself\n"),
		values: []byte("binlog_format MIXED\nbinlog_format STATEMENT\nbinlog_format ROW\nbinlog_format ROW\nevent_scheduler OFF\nevent_scheduler ON\nhalf\n\n"),
	})
	require.NoError(t, err)
	def := func(s string) *string { return &s }
	require.Equal(t, []Parameter{
		{Name: "binlog_format", Scope: "both", Type: "enumeration", Default: def("ROW"), Values: []string{"MIXED", "STATEMENT", "ROW"}, Dynamic: true, Doc: "ROW writes. MIXED writes"},
		{Name: "datadir", Scope: "global", Type: "string", Doc: "Path"},
		{Name: "event_scheduler", Scope: "global", Type: "enumeration", Default: def("ON"), Values: []string{"OFF", "ON", "DISABLED"}, Dynamic: true, Doc: "Possible values are ON, OFF, and DISABLED (keep)"},
		{Name: "insert_id", Scope: "session", Type: "integer", Default: def("0"), Dynamic: true},
		{Name: "max_connections", Scope: "global", Type: "integer", Min: "1", Max: "100000", Default: def("151"), Dynamic: true, Doc: "The number of\nclients"},
	}, p.Parameters)
	v, ok := p.Find("datadir")
	require.True(t, ok)
	require.Nil(t, v.Default)
	_, ok = p.Find("nothing")
	require.False(t, ok)
}

// An older server has no variables_metadata: what it does not say stays empty.
func TestParseParametersOfAnOlderServer(t *testing.T) {
	p, err := parseParameters("mysql", "8.4.6", probe{
		variables: []byte(`{"name":"max_connections","min":"1","max":"100000","global":"151","session":"151","source":"COMPILED"} {"name":"insert_id","min":"0","max":"0","global":null,"session":"0","source":"COMPILED"}`),
		probed:    []byte("max_connections"),
	})
	require.NoError(t, err)
	require.Equal(t, "session", p.Parameters[0].Scope)
	require.Empty(t, p.Parameters[1].Scope)
	require.Equal(t, "100000", p.Parameters[1].Max)
}

func TestParseParametersRefuses(t *testing.T) {
	for name, in := range map[string]probe{
		"half a row":            {variables: []byte(`{"name":"a"`)},
		"no name":               {variables: []byte(`{"scope":"GLOBAL"}`)},
		"the same twice":        {variables: []byte(`{"name":"a"}{"name":"a"}`)},
		"not rows":              {variables: []byte("ERROR 1045 (28000)")},
		"an error past the end": {variables: []byte(`{"name":"a"}`), probed: []byte("a"), refused: []byte("ERROR 1238 (HY000) at line 2: x")},
		"an error before it":    {variables: []byte(`{"name":"a"}`), probed: []byte("a"), refused: []byte("ERROR 1238 (HY000) at line 0: x")},
	} {
		_, err := parseParameters("mysql", "9.7.4", in)
		require.Error(t, err, name)
	}
}

func TestCheckOfACatalogue(t *testing.T) {
	f := Facts{Engine: "mysql", Version: "9.7.4"}
	good := func() Parameters {
		p := Parameters{Engine: "mysql", Version: "9.7.4"}
		for _, n := range []string{"clone_max_concurrency", "datadir", "max_connections", "rpl_semi_sync_source_timeout"} {
			p.Parameters = append(p.Parameters, Parameter{Name: n, Dynamic: n != "datadir"})
		}
		for i := range 400 {
			p.Parameters = append(p.Parameters, Parameter{Name: "z" + string(rune('a'+i%26))})
		}
		return p
	}
	require.NoError(t, good().check(f))
	for name, spoil := range map[string]func(*Parameters){
		"of another version": func(p *Parameters) { p.Version = "8.4.1" },
		"too few":            func(p *Parameters) { p.Parameters = p.Parameters[:10] },
		"no plugin":          func(p *Parameters) { p.Parameters[0].Name = "clone" },
		"nothing is dynamic": func(p *Parameters) { p.Parameters[2].Dynamic = false },
		"all is dynamic":     func(p *Parameters) { p.Parameters[1].Dynamic = true },
	} {
		p := good()
		spoil(&p)
		require.ErrorIs(t, p.check(f), ErrBroken, name)
	}
}

func TestValuesIn(t *testing.T) {
	for doc, want := range map[string][]string{
		"":                                 nil,
		"mode for AES_ENCRYPT/AES_DECRYPT": nil,
		"Possible values are NONE and CRC32; default is CRC32.":                                                {"NONE", "CRC32"},
		"Possible values are NEVER, AUTO, ALWAYS":                                                              {"NEVER", "AUTO", "ALWAYS"},
		"The transaction completion type, one of NO_CHAIN, CHAIN, RELEASE":                                     {"NO_CHAIN", "CHAIN", "RELEASE"},
		"SSL FIPS mode (OpenSSL); permitted values are: OFF, ON, STRICT":                                       {"OFF", "ON", "STRICT"},
		"Legal values are STRICT (default) and IDEMPOTENT. In IDEMPOTENT mode":                                 {"STRICT", "IDEMPOTENT"},
		"Valid values: OFF/ON/FORCED. OFF = Prepare only":                                                      {"OFF", "ON", "FORCED"},
		"threads usage for handling queries, one of one-thread-per-connection, no-threads, loaded-dynamically": {"one-thread-per-connection", "no-threads", "loaded-dynamically"},
	} {
		require.Equal(t, want, valuesIn(doc), doc)
	}
}

func FuzzParseParameters(f *testing.F) {
	f.Add([]byte(cannedRows), []byte("a\nb"), []byte("ERROR 1238 (HY000) at line 2: x"), []byte("a b,c"))
	f.Fuzz(func(t *testing.T, variables, probed, refused, values []byte) {
		p, err := parseParameters("mysql", "9.7.4", probe{variables, probed, refused, values})
		if err != nil {
			return
		}
		for _, v := range p.Parameters {
			if got, ok := p.Find(v.Name); !ok || got.Name != v.Name {
				t.Errorf("%q is not found", v.Name)
			}
		}
	})
}
