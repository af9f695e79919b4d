package keeper

import (
	"context"
	"errors"
	"fmt"

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
	prefixes := []string{protocol.GuestPrefix(i.ID), protocol.RecordKey(i.ID)}
	if err := k.e.Keys.Admit(ctx, principal(i.ID), prefixes); err != nil {
		return nil, fmt.Errorf("admitting the guest: %w", err)
	}
	if err := k.e.Queues.Admit(ctx, principal(i.ID), []string{protocol.GuestQueue(i.ID)}); err != nil {
		return nil, fmt.Errorf("admitting the guest to its queue: %w", err)
	}
	fault.Pass(ctx, PointAdmitted)
	return files, nil
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
	if made[fileCA], made[fileCAKey], made[fileServerCert], made[fileServerKey], err = k.e.Certs.Database(i.ID, []string{i.Address}); err != nil {
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
