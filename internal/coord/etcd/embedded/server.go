package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3compactor"

	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/pki"
)

// How the server is tuned. There is one member, so an election is only a matter of starting.
const (
	tick     = 100 // ms: a timer's pace, and at start up to five of them until the member leads itself
	election = 500 // ms: five ticks are etcd's minimum; also makes 1 s the shortest lease
	// History for watches to resume from after a client was away; older changes cost a Resync.
	retention = "10m"
	quota     = 2 << 30
	// Several full values in one transaction, with what surrounds them.
	maxRequest = 2 << 20
	maxTxnOps  = 256
	// Beyond it a data directory's path is too long for a UNIX socket in it.
	maxSocketPath = 100
	socketName    = "http.sock"
)

// Config says where the server lives.
type Config struct {
	DataDir      string   // made with mode 0700
	ListenClient []string // "https://127.0.0.1:12379"; a port must be given
	Hosts        []string // further addresses and names that its certificate is good for
	Name         string   // of the member; fixed for the life of the data directory
	CA           *pki.CA  // of the deployment
	Logger       *slog.Logger
}

// Server is a running etcd.
type Server struct {
	cfg    Config
	etcd   *embed.Etcd
	guard  *guard
	unlock func()
	temp   string // directory to remove, or ""

	failed   chan error
	failOnce sync.Once
	close    sync.Once
}

// Start gives a server that answers. It fails when another process uses the data directory.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.CA == nil || cfg.DataDir == "" || len(cfg.ListenClient) == 0 {
		return nil, errors.New("start etcd: data directory, listen address and authority are needed")
	}
	if cfg.Name == "" {
		cfg.Name = "huker"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(cfg.DataDir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	s := &Server{cfg: cfg, guard: newGuard(), unlock: unlock, failed: make(chan error, 1)}
	if err := s.start(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	ec, err := s.embedConfig()
	if err != nil {
		return err
	}
	if s.etcd, err = embed.StartEtcd(ec); err != nil {
		return err
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
	case err := <-s.etcd.Err():
		return err
	case err := <-s.failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("not ready: %w", ctx.Err())
	}
	if err := enableAuth(ctx, s.etcd.Server); err != nil {
		return err
	}
	// Until here every request was refused: nobody slips in before rights are checked.
	s.guard.open(s.etcd.Server)
	go s.watch()
	return nil
}

// watch passes on that a listener broke; the channel is closed when the server ends.
func (s *Server) watch() {
	for err := range s.etcd.Err() {
		s.fail(err)
	}
}

func (s *Server) fail(err error) {
	s.failOnce.Do(func() { s.failed <- err })
}

// Failed gives an error when the server cannot go on (the disk is full, a listener broke). The process should end then, and
// start again.
func (s *Server) Failed() <-chan error { return s.failed }

// Health tells whether the server answers a request that needs its log.
func (s *Server) Health(ctx context.Context) error {
	if s.etcd == nil || s.etcd.Server == nil {
		return errors.New("etcd is not running")
	}
	return s.etcd.Server.LinearizableReadNotify(ctx)
}

// Endpoints are the addresses on which clients reach it.
func (s *Server) Endpoints() []string { return append([]string(nil), s.cfg.ListenClient...) }

// ClientConfig issues a certificate for principal, and gives what etcd.Dial needs.
func (s *Server) ClientConfig(principal string) (etcd.ClientConfig, error) {
	pair, err := s.cfg.CA.IssueClient(principal)
	if err != nil {
		return etcd.ClientConfig{}, err
	}
	return etcd.ClientConfig{Endpoints: s.Endpoints(), CA: s.cfg.CA.CertPEM(), Cert: pair.Cert, Key: pair.Key}, nil
}

// Close stops it; what was stored stays.
func (s *Server) Close() {
	s.close.Do(func() {
		s.guard.shut() // open watches would hold up the rest for seconds
		if s.etcd != nil {
			s.etcd.Close()
		}
		if s.temp != "" {
			_ = os.RemoveAll(s.temp) // holds a dead socket at most
		}
		s.unlock()
	})
}

func (s *Server) embedConfig() (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Name = s.cfg.Name
	cfg.Dir = filepath.Join(s.cfg.DataDir, "member")
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(s.guard.ctx, s.cfg.Logger, s.fail))
	cfg.TickMs, cfg.ElectionMs = tick, election
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = v3compactor.ModePeriodic, retention
	cfg.QuotaBackendBytes = quota
	cfg.MaxRequestBytes, cfg.MaxTxnOps = maxRequest, maxTxnOps
	cfg.EnableGRPCGateway = false
	cfg.EnablePprof = false
	cfg.GRPCAdditionalServerOptions = s.guard.options()
	// A slow disk is worth a warning only when it is felt.
	cfg.WarningApplyDuration = time.Second
	cfg.WarningUnaryRequestDuration = 2 * time.Second

	// No peers: nothing listens for any. The address is a name in the member list only, and must stay as it is.
	cfg.ListenPeerUrls = nil
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:1"}}
	cfg.InitialCluster = cfg.Name + "=http://localhost:1"

	var hosts []string
	cfg.ListenClientUrls = nil
	for _, l := range s.cfg.ListenClient {
		u, err := url.Parse(l)
		if err != nil || u.Scheme != "https" || u.Port() == "" || u.Port() == "0" {
			return nil, fmt.Errorf("listen address %q: want https://<ip>:<port>", l)
		}
		cfg.ListenClientUrls = append(cfg.ListenClientUrls, *u)
		hosts = append(hosts, u.Hostname())
	}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	// With a listener of its own for HTTP, gRPC gets its native transport instead of a detour through net/http. It
	// serves health and metrics without TLS, so it is a socket in a private directory.
	socket, err := s.socketPath()
	if err != nil {
		return nil, err
	}
	cfg.ListenClientHttpUrls = []url.URL{{Scheme: "unix", Path: socket}}

	tls, err := writeTLS(filepath.Join(s.cfg.DataDir, "tls"), s.cfg.CA, append(hosts, s.cfg.Hosts...))
	if err != nil {
		return nil, err
	}
	cfg.ClientTLSInfo = tls
	return cfg, nil
}

func (s *Server) socketPath() (string, error) {
	path, err := filepath.Abs(filepath.Join(s.cfg.DataDir, socketName))
	if err != nil {
		return "", err
	}
	if len(path) <= maxSocketPath {
		return path, nil
	}
	if s.temp, err = os.MkdirTemp("", "huker-etcd-"); err != nil {
		return "", err
	}
	return filepath.Join(s.temp, socketName), nil
}

// writeTLS puts the files in place that etcd reads at each handshake; so a renewed certificate is in use at once.
func writeTLS(dir string, ca *pki.CA, hosts []string) (transport.TLSInfo, error) {
	info := transport.TLSInfo{
		CertFile:       filepath.Join(dir, "server.crt"),
		KeyFile:        filepath.Join(dir, "server.key"),
		TrustedCAFile:  filepath.Join(dir, "ca.crt"),
		ClientCertAuth: true,
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return info, err
	}
	// Issued at each start: cheaper than to find out whether the last one is whole, current and good for all hosts.
	pair, err := ca.IssueServer("huker coordination", append(hosts, "localhost", "127.0.0.1")...)
	if err != nil {
		return info, err
	}
	for _, f := range []struct {
		path    string
		content []byte
	}{{info.TrustedCAFile, ca.CertPEM()}, {info.KeyFile, pair.Key}, {info.CertFile, pair.Cert}} {
		if err := pki.WriteFile(f.path, f.content, 0o600); err != nil {
			return info, err
		}
	}
	return info, nil
}
