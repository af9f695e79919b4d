package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/mysql"
	"github.com/huker/huker/internal/metastore/sqlite"
)

// Metadata says where the metadata is.
type Metadata struct {
	Address      string // sqlite:///path or mysql://user@host:3306/database
	PasswordFile string // of the user; empty: there is none
}

const (
	schemeSQLite = "sqlite"
	schemeMySQL  = "mysql"
)

func (m Metadata) check() error {
	scheme, rest, ok := strings.Cut(m.Address, "://")
	if ok && rest != "" && scheme == schemeSQLite {
		return nil
	}
	if ok && scheme == schemeMySQL {
		_, err := m.mysql()
		return err
	}
	return fmt.Errorf("metadata %q must be mysql://USER@HOST:PORT/DATABASE, or sqlite:///PATH where all processes are on one host", m.Address)
}

func (m Metadata) mysql() (engines.Address, error) {
	a, err := engines.ParseAddress(m.Address, schemeMySQL)
	if err != nil {
		return a, fmt.Errorf("metadata: %w", err)
	}
	if len(a.Hosts) != 1 || a.User == "" || a.Path == "" {
		return a, fmt.Errorf("metadata %q must be mysql://USER@HOST:PORT/DATABASE", m.Address)
	}
	return a, nil
}

// open opens the store; its tables are made or brought up to date by whoever comes first.
func (m Metadata) open(ctx context.Context, c engines.Credentials, log *slog.Logger) (metastore.Store, error) {
	if path, ok := strings.CutPrefix(m.Address, schemeSQLite+"://"); ok {
		return sqlite.Open(ctx, path)
	}
	a, err := m.mysql()
	if err != nil {
		return nil, err
	}
	cfg := mysql.Config{Address: a.Hosts[0], User: a.User, Database: a.Path, Log: log.With("part", "metadata")}
	if m.PasswordFile != "" {
		password, err := os.ReadFile(m.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("reading the metadata's password: %w", err)
		}
		cfg.Password = strings.TrimSpace(string(password))
	}
	if !a.Plain {
		if cfg.TLS, err = c.TLS(); err != nil {
			return nil, errors.Join(errors.New("metadata"), err)
		}
	}
	return mysql.Open(ctx, cfg)
}
