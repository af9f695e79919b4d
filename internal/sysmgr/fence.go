package sysmgr

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/huker/huker/internal/protocol"
)

// fenceFile, in an instance's folder, says that clients and replicas are kept from it. It goes with the folder.
const fenceFile = "fenced"

func (h *Host) fencePath(instance string) string {
	return filepath.Join(h.cfg.GuestsDir, instance, fenceFile)
}

// fenced says whether an instance is. One of which it cannot be told is: better nobody reaches it than the wrong ones.
func (h *Host) fenced(instance string) bool {
	_, err := os.Stat(h.fencePath(instance))
	return !errors.Is(err, fs.ErrNotExist)
}

// fence keeps clients and replicas from an instance, or lets them in again. It needs nothing of the container runtime, which may hang.
func (h *Host) fence(ctx context.Context, r protocol.FenceRequest) error {
	request, ok, err := h.recall(r.Instance)
	if err != nil {
		return explain(err)
	}
	if !ok {
		return coded(protocol.CodeNotFound, "instance %s is not on this host", r.Instance)
	}
	if r.Fenced {
		err = h.writeFile(h.fencePath(r.Instance), nil, false)
	} else if err = os.Remove(h.fencePath(r.Instance)); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return explain(fmt.Errorf("remembering the fence: %w", err))
	}
	h.ask(r.Instance, h.accessOf(request))
	if err := h.setFirewall(ctx); err != nil {
		return explain(err)
	}
	h.tell(ctx, request, nil)
	return nil
}
