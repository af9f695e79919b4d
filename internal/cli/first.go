package cli

import (
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/pki"
)

// The first database, which `huker up` makes.
const (
	firstName     = "first"
	firstSchema   = "app"
	firstUser     = "app"
	firstFlavor   = "1"
	firstVolumeGB = 5
	firstFile     = "first.json"
	firstDeadline = 3 * time.Minute
	// firstGrace is what nodekeeper has to mend what the last run left in ERROR; it looks at every instance every ten seconds.
	firstGrace = 25 * time.Second
)

// firstSecret is kept 0600 in the data directory, so that `huker up` can print the same line again.
type firstSecret struct {
	Password string `json:"password"`
	Made     bool   `json:"made"` // afterwards its deletion is its owner's wish: it is not made again
}

// firstDatabase makes the first database, unless there is one or was one, and prints how to reach it.
func firstDatabase(ctx context.Context, out io.Writer, c controlplane.Config, say func(string)) error {
	// This deployment, whatever the environment says of others.
	local := &app{dataDir: c.DataDir, getenv: func(string) string { return "" }}
	credentials, err := local.credentials()
	if err != nil {
		return err
	}
	api, err := client.New(credentials)
	if err != nil {
		return err
	}
	path := filepath.Join(c.DataDir, firstFile)
	secret, err := readFirst(path)
	if err != nil {
		return err
	}
	all, err := api.Instances(ctx)
	if err != nil {
		return err
	}
	var first client.Instance
	for _, i := range all {
		if i.Name == firstName {
			first = i
		}
	}
	if first.ID == "" {
		if secret.Made || len(all) > 0 {
			fmt.Fprintf(out, "Huker is up. API: %s, databases: %d (%s instance list)\n", c.Endpoint(), len(all), calledAs(os.Args[0]))
			return nil
		}
		say("creating database " + firstName)
		first, err = api.CreateInstance(ctx, client.NewInstance{
			Name: firstName, Flavor: firstFlavor, Volume: client.Volume{Size: firstVolumeGB},
			Databases: []client.Database{{Name: firstSchema}},
			Users:     []client.NewUser{{Name: firstUser, Password: secret.Password, Databases: []client.Database{{Name: firstSchema}}}},
		})
		if err != nil {
			return fmt.Errorf("creating the first database: %w", err)
		}
	}
	if first, err = awaitFirst(ctx, api, first, secret.Password, say); err != nil {
		return err
	}
	if !secret.Made {
		secret.Made = true
		if err := writeFirst(path, secret); err != nil {
			return err
		}
	}
	printFirst(out, c, first, secret.Password)
	return nil
}

// readFirst gives the kept password, or keeps a new one, before it is used.
func readFirst(path string) (firstSecret, error) {
	var s firstSecret
	data, err := os.ReadFile(path) //nolint:gosec // the data directory is the operator's to name
	if err == nil {
		if err = json.Unmarshal(data, &s); err == nil {
			return s, nil
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("reading %s: %w", path, err)
	}
	s.Password = generate()
	return s, writeFirst(path, s)
}

func writeFirst(path string, s firstSecret) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return pki.WriteFile(path, data, 0o600)
}

// awaitFirst waits until the database answers a query: right after a start, its row may still say what was true before the stop, be it
// that all is well or an ERROR whose cause is gone.
func awaitFirst(ctx context.Context, api *client.Client, i client.Instance, password string, say func(string)) (client.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, firstDeadline)
	defer cancel()
	stale := i.Failed()
	grace := time.Now().Add(firstGrace)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := api.Instance(ctx, i.ID)
		switch {
		case err != nil:
			return i, err
		case now.Ready() && answers(ctx, now.Address(), password):
			say("database " + now.Name + " is ready")
			return now, nil
		case now.Failed() && (!stale || time.Now().After(grace)):
			return i, failure(now)
		case !now.Failed():
			stale = false
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return i, fmt.Errorf("database %s is still in %s after %s (huker instance show %s)", now.Name, now.Status, firstDeadline, now.Name)
		}
	}
}

// answers reports whether the first user can run a query.
func answers(ctx context.Context, address, password string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", net.JoinHostPort(address, "3306"), firstUser, password, firstSchema
	c.TLS = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // on this host's own bridge; nothing is read
	c.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return false
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	err = db.PingContext(ctx)
	var refused *mysql.MySQLError
	// A password that was changed since is an answer too.
	return err == nil || (errors.As(err, &refused) && refused.Number == errAccessDenied)
}

// errAccessDenied is ER_ACCESS_DENIED_ERROR.
const errAccessDenied = 1045

func printFirst(out io.Writer, c controlplane.Config, i client.Instance, password string) {
	self := calledAs(os.Args[0])
	fmt.Fprintf(out, `
Huker is up, with a running MySQL %s database.

  address    %s
  port       3306
  user       %s
  password   %s
  database   %s

  mysql -h %s -u %s -p'%s' %s

No mysql client on this host?   %s instance connect %s
The API for other clients:      %s   (eval "$(%s env)")
`, i.Datastore.Version, i.Address(), firstUser, password, firstSchema, i.Address(), firstUser, password, firstSchema, self, i.Name, c.Endpoint(), self)
}
