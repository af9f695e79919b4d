package api

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/metastore"
)

// Names of the secrets of an instance that are none: its clients may have them. nodekeeper puts them there.
const (
	caSecret   = "ca.pem"
	certSecret = "server-cert.pem"
)

// SSLBody says how an instance encrypts.
type SSLBody struct {
	SSL SSL `json:"ssl"`
}

// SSL of an instance. CA is Huker's own addition: with it a client makes sure that it speaks to this database.
type SSL struct {
	Status      string       `json:"status" enum:"on,off"`
	Mode        string       `json:"mode" enum:"builtin"`
	Certificate *Certificate `json:"certificate,omitempty"`
	CA          string       `json:"ca,omitempty" doc:"The certificate of the instance's authority, PEM"`
}

// Certificate of an instance's server.
type Certificate struct {
	CN       string   `json:"cn"`
	ExpireAt Time     `json:"expire_at"`
	SAN      []string `json:"san"`
	Payload  string   `json:"payload,omitempty" doc:"PEM: the server's certificate and its authority's"`
}

func (s *server) sslRoutes(t *table) {
	on(t, spec{method: http.MethodGet, path: "instances/{id}/ssl", id: "showSSL", tag: "ssl", summary: "Show the certificate and its authority",
		status: http.StatusOK, query: []param{{"include_certificate", huma.TypeString, "true gives the certificate itself too."}}}, s.showSSL)
}

func (s *server) showSSL(ctx context.Context, r *request, _ *none) (*SSLBody, error) {
	var ca, cert []byte
	err := s.Store.View(ctx, func(tx metastore.Tx) error {
		i, err := r.load(ctx, tx, r.path["id"])
		if err != nil {
			return err
		}
		if ca, err = publicSecret(ctx, tx, i.ID, caSecret); err != nil {
			return err
		}
		cert, err = publicSecret(ctx, tx, i.ID, certSecret)
		return err
	})
	if err != nil {
		return nil, err
	}
	body := &SSLBody{SSL: SSL{Status: "off", Mode: "builtin", CA: string(ca)}}
	if len(cert) == 0 {
		return body, nil // not made yet
	}
	view, err := certificateView(cert)
	if err != nil {
		return nil, fmt.Errorf("certificate of instance %s: %w", r.path["id"], err)
	}
	if include, err := strconv.ParseBool(r.query.Get("include_certificate")); err == nil && include {
		view.Payload = string(cert) + string(ca)
	}
	body.SSL.Status, body.SSL.Certificate = "on", view
	return body, nil
}

// publicSecret gives certificates and nothing else of what is stored, should a key ever be with them.
func publicSecret(ctx context.Context, tx metastore.Tx, owner, name string) ([]byte, error) {
	text, err := tx.Secrets().Get(ctx, owner, name)
	if errors.Is(err, metastore.ErrNotFound) {
		return nil, nil
	}
	var public []byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			public = append(public, pem.EncodeToMemory(block)...)
		}
	}
	return public, err
}

func certificateView(text []byte) (*Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	san := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		san = append(san, ip.String())
	}
	return &Certificate{CN: c.Subject.CommonName, ExpireAt: Time{c.NotAfter}, SAN: san}, nil
}
