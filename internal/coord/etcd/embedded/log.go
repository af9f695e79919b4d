package embedded

import (
	"context"
	"errors"
	"log/slog"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger has etcd's warnings and worse go to slog. What etcd calls fatal ends the goroutine and tells fail, because the
// process is not etcd's to end.
func zapLogger(closing context.Context, to *slog.Logger, fail func(error)) *zap.Logger {
	core := &slogCore{to: to.With("component", "etcd"), closing: closing}
	return zap.New(core, zap.WithFatalHook(onFatal{fail}))
}

type onFatal struct{ fail func(error) }

// OnWrite implements zapcore.CheckWriteHook.
func (f onFatal) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New("etcd: " + e.Message)
	for _, field := range fields {
		if cause, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			err = errors.Join(err, cause)
		}
	}
	f.fail(err)
	runtime.Goexit()
}

// slogCore is a zapcore.Core that writes to slog.
type slogCore struct {
	to      *slog.Logger
	fields  []zapcore.Field
	closing context.Context // once it has ended, complaints about closed listeners are no news
}

// etcd is talkative: its information is for those who run etcd by itself.
func (c *slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{to: c.to, closing: c.closing, fields: append(append([]zapcore.Field(nil), c.fields...), fields...)}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && !expected[e.Message] && (e.Level > zapcore.ErrorLevel || c.closing.Err() == nil) {
		return ce.AddCore(e, c)
	}
	return ce
}

// expected are warnings about what is so on purpose.
var expected = map[string]bool{
	"cannot find a user for permission check": true, // an expelled guest that goes on trying
	"Failed to detect schema version":         true, // of a new data directory; found out a little later
	"failed to update storage version":        true,
	"failed to apply request":                 true, // a condition or a right was missing: the client is told
	"scheme is http or unix while key and cert files are present; ignoring key and cert files":           true,
	"scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL": true,
	"request auth revision is less than current node auth revision":                                      true, // the client repeats it
	"simple token is not cryptographically signed":                                                       true,
	"serving client traffic insecurely; this is strongly discouraged!":                                   true,
	"--name is set to the default value; it isn't recommended":                                           true,
	"failed to receive watch request from gRPC stream":                                                   true, // a client left
	"failed to receive lease keepalive request from gRPC stream":                                         true,
	"failed to send watch control response to gRPC stream":                                               true,
	"failed to send watch response to gRPC stream":                                                       true,
	"failed to send lease keepalive response to gRPC stream":                                             true,
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(append([]zapcore.Field(nil), c.fields...), fields...) {
		f.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	c.to.LogAttrs(context.Background(), level, e.Message, attrs...)
	return nil
}

func (c *slogCore) Sync() error { return nil }
