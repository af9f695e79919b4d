package sysmgr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/runtime"
)

// Fault points of the steps below.
const (
	PointFiles     fault.Point = "sysmgr.ensure.files-written"
	PointVolume    fault.Point = "sysmgr.ensure.volume-made"
	PointContainer fault.Point = "sysmgr.ensure.container-made"
	PointStarted   fault.Point = "sysmgr.ensure.started"
	PointMarked    fault.Point = "sysmgr.remove.marked"
	PointStopped   fault.Point = "sysmgr.remove.container-removed"
	PointPurged    fault.Point = "sysmgr.remove.volume-removed"
)

// Points lists all fault points of this package.
func Points() []fault.Point {
	return []fault.Point{PointFiles, PointVolume, PointContainer, PointStarted, PointMarked, PointStopped, PointPurged}
}

// codedError carries a code of internal/protocol across the bus.
type codedError struct {
	code string
	err  error
}

func (e *codedError) Error() string     { return e.err.Error() }
func (e *codedError) Unwrap() error     { return e.err }
func (e *codedError) ErrorCode() string { return e.code }

func coded(code string, format string, args ...any) error {
	return &codedError{code: code, err: fmt.Errorf(format, args...)}
}

// explain gives the runtime's errors the codes and words that nodekeeper and users understand.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, runtime.ErrNoImage):
		return coded(protocol.CodeNoImage, "the image of this datastore version is not on the host (huker image build): %w", err)
	case errors.Is(err, runtime.ErrNoSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return coded(protocol.CodeNoSpace, "the host's disk is full: %w", err)
	case errors.Is(err, runtime.ErrUnavailable):
		return coded(protocol.CodeUnavailable, "the host's container runtime does not answer: %w", err)
	}
	return err
}

// ensure carries out a request from nodekeeper.
func (h *Host) ensure(ctx context.Context, r protocol.EnsureRequest) (protocol.EnsureReply, error) {
	if !instanceID.MatchString(r.Instance) {
		return protocol.EnsureReply{}, coded(protocol.CodeInvalid, "instance id %q is not a UUID", r.Instance)
	}
	if err := checkFiles(r.Files); err != nil {
		return protocol.EnsureReply{}, err
	}
	unlock, err := h.locks.lock(ctx, r.Instance)
	if err != nil {
		return protocol.EnsureReply{}, err
	}
	defer unlock()
	if h.isRemoved(r.Instance) {
		return protocol.EnsureReply{}, coded(protocol.CodeRemoved, "instance %s was removed from this host", r.Instance)
	}
	last, known, err := h.recall(r.Instance)
	if err != nil { // what is asked for now takes the place of what is lost
		h.log.Error("recalling an instance", "op", "ensure", "instance", r.Instance, "error", err)
	}
	if known && last.Generation > r.Generation {
		return protocol.EnsureReply{}, coded(protocol.CodeStale, "generation %d of instance %s is in effect already", last.Generation, r.Instance)
	}
	if r.Guest.Agent = h.cfg.Programs.Agent(); r.Guest.Agent == "" { // a guest that has one goes on with it
		r.Guest.Agent = last.Guest.Agent
	}
	if r.Guest.Agent == "" {
		return protocol.EnsureReply{}, coded(protocol.CodeFetching, "host %s: %s", h.cfg.Host, h.lacks())
	}
	if err := h.bring(ctx, r, true); err != nil {
		err = explain(err)
		h.failed(ctx, r, err)
		return protocol.EnsureReply{}, err
	}
	s, err := h.settled(ctx, r)
	if err != nil {
		return protocol.EnsureReply{}, err
	}
	h.log.Info("instance ensured", "op", "ensure", "instance", r.Instance, "generation", r.Generation)
	return protocol.EnsureReply{Container: s}, nil
}

// bring has everything of an instance be as r says. The order matters: the request is remembered before anything is made, so that
// nothing is ever made that this host would not find again; the firewall stands before mysqld can listen.
func (h *Host) bring(ctx context.Context, r protocol.EnsureRequest, fresh bool) error {
	if fresh {
		if err := h.writeGuest(r); err != nil {
			return err
		}
		if err := h.remember(r); err != nil {
			return err
		}
		h.ask(r.Instance, h.accessOf(r))
		fault.Pass(ctx, PointFiles)
	}
	if err := h.setFirewall(ctx); err != nil {
		return fmt.Errorf("setting the firewall: %w", err)
	}
	name := h.containerName(r.Instance)
	state, err := h.engine.Inspect(ctx, name)
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		if err := h.create(ctx, r); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("looking at the container: %w", err)
	case state.Limits != limitsOf(r):
		if err := h.engine.UpdateLimits(ctx, name, limitsOf(r)); err != nil {
			return fmt.Errorf("changing the container's limits: %w", err)
		}
	}
	if state.Phase == runtime.PhaseRunning {
		return nil
	}
	if err := h.engine.Start(ctx, name); err != nil {
		return fmt.Errorf("starting the container: %w", err)
	}
	fault.Pass(ctx, PointStarted)
	return nil
}

func (h *Host) create(ctx context.Context, r protocol.EnsureRequest) error {
	if err := h.bringImage(ctx, r); err != nil {
		return err
	}
	if err := h.engine.CreateVolume(ctx, h.volumeName(r.Instance), h.labels(r.Instance)); err != nil {
		return fmt.Errorf("making the volume: %w", err)
	}
	fault.Pass(ctx, PointVolume)
	if err := h.engine.Create(ctx, h.spec(r)); err != nil {
		return fmt.Errorf("making the container: %w", err)
	}
	fault.Pass(ctx, PointContainer)
	return nil
}

// imagePatience is how long a request waits for its image. One that takes longer goes on coming, and the request is made again.
const imagePatience = 30 * time.Second

func (h *Host) bringImage(ctx context.Context, r protocol.EnsureRequest) error {
	if h.cfg.Images == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, imagePatience)
	defer cancel()
	err := h.cfg.Images.Ensure(ctx, r.Image, r.Sources)
	if errors.Is(err, context.DeadlineExceeded) {
		return coded(protocol.CodeFetching, "the image of this datastore version is on its way to the host: %w", err)
	}
	return err
}

// remove takes away what an instance has here. The mark comes first and the folder's other files go last, so that a repeated
// request finds what is left, and a late ensure makes nothing.
func (h *Host) remove(ctx context.Context, r protocol.RemoveRequest) error {
	if !instanceID.MatchString(r.Instance) {
		return coded(protocol.CodeInvalid, "instance id %q is not a UUID", r.Instance)
	}
	unlock, err := h.locks.lock(ctx, r.Instance)
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.markRemoved(r.Instance); err != nil {
		return explain(err)
	}
	fault.Pass(ctx, PointMarked)
	name := h.containerName(r.Instance)
	if r.Grace > 0 {
		if err := h.engine.Stop(ctx, name, r.Grace); err != nil && !errors.Is(err, runtime.ErrNotFound) {
			return explain(fmt.Errorf("stopping the container: %w", err))
		}
	}
	if err := h.engine.Remove(ctx, name); err != nil {
		return explain(fmt.Errorf("removing the container: %w", err))
	}
	fault.Pass(ctx, PointStopped)
	h.disallow(r.Instance)
	if err := h.setFirewall(ctx); err != nil {
		return fmt.Errorf("taking back the firewall's rules: %w", err)
	}
	if r.Purge {
		if err := h.engine.RemoveVolume(ctx, h.volumeName(r.Instance)); err != nil {
			return explain(fmt.Errorf("removing the volume: %w", err))
		}
		fault.Pass(ctx, PointPurged)
	}
	for _, f := range []string{etcDir, ensureFile} {
		if err := os.RemoveAll(filepath.Join(h.guestDir(r.Instance), f)); err != nil {
			return fmt.Errorf("removing the guest's files: %w", err)
		}
	}
	if err := h.forget(ctx, r.Instance); err != nil {
		return err
	}
	h.log.Info("instance removed", "op", "remove", "instance", r.Instance, "purge", r.Purge)
	return nil
}

// sweep drops the marks of removed instances once no late request for them can be under way any more.
func (h *Host) sweep(now time.Time) {
	ids, err := h.instances()
	if err != nil {
		return
	}
	for _, id := range ids {
		mark, err := os.Stat(filepath.Join(h.guestDir(id), removedMark))
		if err != nil || now.Sub(mark.ModTime()) < 24*time.Hour {
			continue
		}
		_ = os.RemoveAll(h.guestDir(id))
	}
}
