package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/huker/huker/internal/engines"
)

// Files of an identity: the certificate that a process shows to the engines and to other processes. `huker pki issue` writes them.
const (
	IdentityCA   = "ca.pem" // of the whole deployment
	IdentityCert = "cert.pem"
	IdentityKey  = "key.pem"
)

// ControlPrincipal is who huker-api and huker-nodekeeper come as: they may do everything.
const ControlPrincipal = engines.ControlPrincipal

// Fleet is what every process of a fleet must be told.
type Fleet struct {
	Name         string // of the deployment
	Coordination string // as internal/engines takes it
	Bus          string
	Management   string // RabbitMQ's, for nodekeeper: https://host:15671
	// ManagementPasswordFile has the password of ControlPrincipal there.
	ManagementPasswordFile string
	Identity               string // directory with ca.pem, cert.pem and key.pem
	HealthListen           string // host:port of /healthz and /readyz; empty: none
	Version                string
	Log                    *slog.Logger
}

func (f *Fleet) check(principal string) error {
	if f.Name == "" {
		f.Name = DefaultName
	}
	var errs []error
	if !nameForm.MatchString(f.Name) {
		errs = append(errs, fmt.Errorf("name %q: lower-case letters, digits and '-', a letter first, at most 32", f.Name))
	}
	if f.Identity == "" {
		errs = append(errs, errors.New("identity must be given: the directory made by `huker pki issue`"))
	} else {
		errs = append(errs, checkIdentity(f.Identity, principal))
	}
	if f.HealthListen != "" {
		errs = append(errs, checkListen("health-listen", f.HealthListen))
	}
	if f.Coordination == "" {
		return errors.Join(append(errs, errors.New("coordination must be given: zookeeper://HOST:PORT,…/ROOT, or etcd://HOST:PORT,…"))...)
	}
	return errors.Join(append(errs, engines.Config{Coordination: f.Coordination, Bus: f.Bus}.Check())...)
}

func readIdentity(dir string) (engines.Credentials, error) {
	var c engines.Credentials
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{IdentityCA, &c.CA}, {IdentityCert, &c.Cert}, {IdentityKey, &c.Key}} {
		data, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil {
			return c, fmt.Errorf("reading this process's identity: %w", err)
		}
		*f.to = data
	}
	return c, nil
}

// open connects to the engines.
func (f *Fleet) open(ctx context.Context) (*engines.Engines, engines.Credentials, error) {
	credentials, err := readIdentity(f.Identity)
	if err != nil {
		return nil, credentials, err
	}
	cfg := engines.Config{Coordination: f.Coordination, Bus: f.Bus, Management: f.Management, Credentials: credentials}
	if f.ManagementPasswordFile != "" {
		password, err := os.ReadFile(f.ManagementPasswordFile)
		if err != nil {
			return nil, credentials, fmt.Errorf("reading the password for RabbitMQ's management: %w", err)
		}
		cfg.ManagementPassword = strings.TrimSpace(string(password))
	}
	e, err := engines.Open(ctx, cfg, f.Log)
	return e, credentials, err
}

// serverTLS shows the certificate to clients, and asks for theirs where want says so.
func serverTLS(c engines.Credentials, want tls.ClientAuthType) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("reading this process's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("reading the deployment's authority: no certificate in it")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: want, MinVersion: tls.VersionTLS12}, nil
}

// group runs parts until ctx ends or one of them fails; then all end, and that one's error is the answer.
func group(ctx context.Context, parts map[string]func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for name, run := range parts {
		wg.Go(func() {
			err := run(ctx)
			if ctx.Err() == nil {
				cancel(fmt.Errorf("%s ended: %w", name, errors.Join(err, errors.New("it should not"))))
			}
		})
	}
	wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// serveHealth is a part that answers health requests, if the process is to.
func (f *Fleet) serveHealth(parts map[string]func(context.Context) error, h *health) {
	if f.HealthListen != "" {
		parts["health"] = newServer(f.HealthListen, nil, h.handler()).Run
	}
}
