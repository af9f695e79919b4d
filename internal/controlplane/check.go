package controlplane

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/pki"
)

// invalid marks what is wrong with a configuration, all of it.
func invalid(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w:\n%w", ErrConfig, err)
	}
	return nil
}

// checkIdentity says what is wrong with a process's identity, before an engine says no more than that it is denied.
func checkIdentity(dir, principal string) error {
	c, err := readIdentity(dir)
	if err != nil {
		return fmt.Errorf("identity: %w: make it with `huker pki issue`", err)
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("identity %s: "+format+": make it anew with `huker pki issue`", append([]any{dir}, args...)...)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CA) {
		return wrong("no certificate in %s", IdentityCA)
	}
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		return wrong("%w", err)
	}
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(cert)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return wrong("%w", err)
	}
	if name := pair.Leaf.Subject.CommonName; name != principal {
		return wrong("it is %q, but this process is to be %q", name, principal)
	}
	return nil
}

// checkAuthority says why the authority's file is none, or another deployment's than the process's own identity.
func checkAuthority(file, identity string) error {
	if file == "" {
		return errors.New("authority must be given: authority.pem, made by `huker pki init`")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("authority: %w", err)
	}
	ca, err := pki.ParseCA(text, text)
	if err != nil {
		return fmt.Errorf("authority %s: %w", file, err)
	}
	trusted, err := os.ReadFile(filepath.Join(identity, IdentityCA))
	if identity == "" || err != nil {
		return nil //nolint:nilerr // the identity's own error says it
	}
	roots := x509.NewCertPool()
	block, _ := pem.Decode(ca.CertPEM())
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("authority %s: %w", file, err)
	}
	if !roots.AppendCertsFromPEM(trusted) {
		return nil // as above
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("authority %s is not the one that identity %s is of: databases could not come in with its certificates: %w", file, identity, err)
	}
	return nil
}

// checkFile says why a file that was named cannot be read; none was named if it is empty.
func checkFile(name, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.ReadFile(path); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// checkListen says why text is no address to listen on.
func checkListen(name, text string) error {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s %q must be HOST:PORT", name, text)
	}
	return nil
}

// checkManagement says what nodekeeper lacks to give rights in RabbitMQ.
func (f *Fleet) checkManagement() error {
	carrier, err := engines.ParseAddress(f.Bus, engines.SchemeRabbitMQ)
	if err != nil {
		return nil //nolint:nilerr // there is none, or Fleet.check says so
	}
	if f.Management == "" {
		return errors.New("bus-management must be given with RabbitMQ: nodekeeper makes hosts' and databases' users there")
	}
	u, err := url.Parse(f.Management)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(carrier.Plain && u.Scheme == "http") {
		return fmt.Errorf("bus-management %q must be https://HOST:PORT", f.Management)
	}
	if f.ManagementPasswordFile == "" {
		return fmt.Errorf("bus-password-file must be given: the password of %q for bus-management", ControlPrincipal)
	}
	return checkFile("bus-password-file", f.ManagementPasswordFile)
}
