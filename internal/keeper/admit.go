package keeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// principal is the name that a guest's agent proves by its certificate.
func principal(instance string) string { return "guest." + instance }

// The private files of a guest; the CA's key stays with the metadata.
const (
	fileCA         = "ca.pem"
	fileCAKey      = "ca-key.pem"
	fileServerCert = "server-cert.pem"
	fileServerKey  = "server-key.pem"
	fileCoordCA    = "coord-ca.pem"
	fileAgentCert  = "agent-cert.pem"
	fileAgentKey   = "agent-key.pem"
)

func guestFiles() []string {
	return []string{fileCA, fileServerCert, fileServerKey, fileCoordCA, fileAgentCert, fileAgentKey}
}

// admit gives a guest its rights, and its certificates, which are made once and kept.
func (k *Keeper) admit(ctx context.Context, i *model.Instance) (map[string][]byte, error) {
	files, err := k.certificates(ctx, i)
	if err != nil {
		return nil, err
	}
	if err := AdmitGuest(ctx, k.e.Keys, k.e.Queues, i); err != nil {
		return nil, err
	}
	fault.Pass(ctx, PointAdmitted)
	return files, nil
}

// AdmitGuest gives a guest its rights in both engines. What the cluster is, nodekeeper alone says: a guest that others have got hold of must not lead the
// other members astray.
func AdmitGuest(ctx context.Context, keys coord.Gatekeeper, queues bus.Gatekeeper, i *model.Instance) error {
	rights := coord.Rights{Own: []string{protocol.GuestPrefix(i.ID)}, Read: []string{protocol.ClusterPrefix(clusterID(i))}}
	if err := keys.Admit(ctx, principal(i.ID), rights); err != nil {
		return fmt.Errorf("admitting the guest: %w", err)
	}
	if err := queues.Admit(ctx, principal(i.ID), []string{protocol.GuestQueue(i.ID)}); err != nil {
		return fmt.Errorf("admitting the guest to its queue: %w", err)
	}
	return nil
}

func (k *Keeper) certificates(ctx context.Context, i *model.Instance) (map[string][]byte, error) {
	files := map[string][]byte{}
	missing := false
	err := k.e.Store.View(ctx, func(tx metastore.Tx) error {
		missing = false
		for _, name := range guestFiles() {
			data, err := tx.Secrets().Get(ctx, i.ID, name)
			if errors.Is(err, metastore.ErrNotFound) {
				missing = true
				return nil
			}
			if err != nil {
				return err
			}
			files[name] = data
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the guest's certificates: %w", err)
	}
	if !missing {
		return files, nil
	}
	made := map[string][]byte{}
	if err := k.makeCertificates(ctx, i, made); err != nil {
		return nil, fmt.Errorf("making the database's certificates: %w", err)
	}
	if made[fileCoordCA], made[fileAgentCert], made[fileAgentKey], err = k.e.Certs.Principal(principal(i.ID)); err != nil {
		return nil, fmt.Errorf("making the agent's certificate: %w", err)
	}
	err = k.update(ctx, func(tx metastore.Tx) error {
		// Only for a row that is there: secrets go with it.
		if _, err := tx.Instances().Get(ctx, i.ID); err != nil {
			return err
		}
		for name, data := range made {
			if err := tx.Secrets().Put(ctx, i.ID, name, data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("keeping the guest's certificates: %w", err)
	}
	delete(made, fileCAKey)
	return made, nil
}

// clusterID is the cluster that an instance belongs to: one that is alone is its own.
func clusterID(i *model.Instance) string {
	if i.ClusterID == "" {
		return i.ID
	}
	return i.ClusterID
}

// makeCertificates makes an instance's server certificate: of a CA of its own, or, for a member, of its cluster's, so that clients of the cluster trust
// whoever is the primary, and members know each other. The CA of an implicit cluster is that of the instance which it began with.
func (k *Keeper) makeCertificates(ctx context.Context, i *model.Instance, made map[string][]byte) (err error) {
	if i.ClusterID == "" || i.ClusterID == i.ID {
		made[fileCA], made[fileCAKey], made[fileServerCert], made[fileServerKey], err = k.e.Certs.Database(i.ID, []string{i.Address})
		return err
	}
	ca, key, row, err := k.clusterCA(ctx, i.ClusterID)
	if err != nil {
		return err
	}
	addresses := []string{i.Address}
	if row.ReadWrite != "" {
		addresses = append(addresses, row.ReadWrite, row.ReadOnly, "127.0.0.1", "localhost")
	}
	made[fileCA] = ca
	made[fileServerCert], made[fileServerKey], err = k.e.Certs.Member(ca, key, i.ID, addresses)
	return err
}

// clusterCA gives a cluster's authority, which is made when its first member needs it.
func (k *Keeper) clusterCA(ctx context.Context, id string) (ca, key []byte, row model.Cluster, err error) {
	read := func(tx metastore.Tx) error {
		if row, err = tx.Clusters().Get(ctx, id); err != nil {
			return err
		}
		if !row.Implicit && row.ReadWrite == "" {
			return errNoEndpoint
		}
		if ca, err = tx.Secrets().Get(ctx, id, fileCA); err != nil {
			return err
		}
		key, err = tx.Secrets().Get(ctx, id, fileCAKey)
		return err
	}
	if err = k.e.Store.View(ctx, read); !errors.Is(err, metastore.ErrNotFound) || row.ID == "" {
		return ca, key, row, err
	}
	madeCA, madeKey, _, _, err := k.e.Certs.Database(id, []string{row.ReadWrite})
	if err != nil {
		return nil, nil, row, err
	}
	err = k.update(ctx, func(tx metastore.Tx) error {
		if err := read(tx); !errors.Is(err, metastore.ErrNotFound) || row.ID == "" {
			return err // another worker made it meanwhile
		}
		ca, key = madeCA, madeKey
		return errors.Join(tx.Secrets().Put(ctx, id, fileCA, ca), tx.Secrets().Put(ctx, id, fileCAKey, key))
	})
	return ca, key, row, err
}

// errNoEndpoint says that a cluster's addresses, which its members' certificates name, are not chosen yet.
var errNoEndpoint = errors.New("the cluster has no addresses yet")
