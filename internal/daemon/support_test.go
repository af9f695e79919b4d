package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime/docker"
)

// yesterdays is a certificate with its key that was good until yesterday.
func yesterdays(t *testing.T, ca *pki.CA, principal string) (cert, key string) {
	t.Helper()
	authority, err := tls.X509KeyPair(ca.CertPEM(), ca.KeyPEM())
	require.NoError(t, err)
	pair, err := ca.IssueClient(principal)
	require.NoError(t, err)
	leaf, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	template := leaf.Leaf
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Leaf, template.PublicKey, authority.PrivateKey)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pair.Key)
}

// removeWall takes away the firewall of a deployment.
func removeWall(t *testing.T, deployment string) func() {
	t.Helper()
	wall, err := network.NewFirewall(deployment, docker.BridgeName(deployment))
	require.NoError(t, err)
	return func() { assert.NoError(t, wall.Remove(context.WithoutCancel(t.Context()))) }
}
