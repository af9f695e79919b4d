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
	// Address is sqlite:///path, mysql://user@host:3306/database, or mysql://user@/path/of/mysqld.sock/database.
	Address      string
	PasswordFile string // of the user; empty: there is none
}

const (
	schemeSQLite = "sqlite"
	schemeMySQL  = "mysql"
)

func (m Metadata) check() error {
	return errors.Join(m.checkAddress(), checkFile("metadata-password-file", m.PasswordFile))
}

func (m Metadata) checkAddress() error {
	if m.Address == "" {
		return errors.New("metadata must be given: mysql://USER@HOST:PORT/DATABASE, or sqlite:///PATH where all processes are on one host")
	}
	scheme, rest, ok := strings.Cut(m.Address, "://")
	if ok && rest != "" && scheme == schemeSQLite {
		return nil
	}
	if ok && scheme == schemeMySQL {
		if _, _, _, local := m.socket(); local {
			return nil
		}
		_, err := m.mysql()
		return err
	}
	return fmt.Errorf("metadata %q must be mysql://USER@HOST:PORT/DATABASE, or sqlite:///PATH where all processes are on one host", m.Address)
}

// socket takes an address on this host apart.
func (m Metadata) socket() (user, path, database string, ok bool) {
	user, rest, ok := strings.Cut(strings.TrimPrefix(m.Address, schemeMySQL+"://"), "@")
	slash := strings.LastIndexByte(rest, '/')
	if !ok || user == "" || !strings.HasPrefix(rest, "/") || slash < 2 || slash == len(rest)-1 {
		return "", "", "", false
	}
	return user, rest[:slash], rest[slash+1:], true
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
	cfg := mysql.Config{Log: log.With("part", "metadata")}
	var err error
	var local bool
	if cfg.User, cfg.Address, cfg.Database, local = m.socket(); !local {
		a, err := m.mysql()
		if err != nil {
			return nil, err
		}
		cfg.Address, cfg.User, cfg.Database = a.Hosts[0], a.User, a.Path
		if !a.Plain {
			if cfg.TLS, err = c.TLS(); err != nil {
				return nil, errors.Join(errors.New("metadata"), err)
			}
		}
	}
	if m.PasswordFile != "" {
		var password []byte
		if password, err = os.ReadFile(m.PasswordFile); err != nil {
			return nil, fmt.Errorf("reading the metadata's password: %w", err)
		}
		cfg.Password = strings.TrimSpace(string(password))
	}
	return mysql.Open(ctx, cfg)
}
