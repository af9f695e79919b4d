package cli

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

// mysqlPort is the port of every instance: each has an address of its own.
const mysqlPort = 3306

// placeholder stands for a password that is not given. It needs no quoting anywhere.
const placeholder = "PASSWORD"

// target is what a connection string is made of.
type target struct {
	address, user, password, database string
	ca                                string // file; empty: encrypted, but the server is not made sure of
}

// dsnForms are the forms of connection strings by name.
func dsnForms() map[string]func(t target) (text, hint string) {
	return map[string]func(t target) (string, string){"uri": uriDSN, "go": goDSN, "jdbc": jdbcDSN, "mysql": mysqlDSN}
}

func (t target) hostPort() string { return net.JoinHostPort(t.address, strconv.Itoa(mysqlPort)) }

// uriDSN is the form of MySQL Shell and libmysqlclient's tools.
func uriDSN(t target) (string, string) {
	q := url.Values{"ssl-mode": {"REQUIRED"}}
	if t.ca != "" {
		q = url.Values{"ssl-mode": {"VERIFY_CA"}, "ssl-ca": {t.ca}}
	}
	u := url.URL{Scheme: "mysql", User: url.UserPassword(t.user, t.password), Host: t.hostPort(), Path: "/" + t.database, RawQuery: q.Encode()}
	return u.String(), ""
}

// goDSN is go-sql-driver's form. "skip-verify" is its word for encrypted without making sure of the server; it knows an authority only
// once the program has registered it.
func goDSN(t target) (string, string) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName, c.TLSConfig = t.user, t.password, "tcp", t.hostPort(), t.database, "skip-verify"
	hint := ""
	if t.ca != "" {
		c.TLSConfig = "huker"
		hint = fmt.Sprintf("The program has to register %s before: mysql.RegisterTLSConfig(\"huker\", &tls.Config{RootCAs: pool})", t.ca)
	}
	return c.FormatDSN(), hint
}

// jdbcDSN is Connector/J's form.
func jdbcDSN(t target) (string, string) {
	q := url.Values{"user": {t.user}, "password": {t.password}, "sslMode": {"REQUIRED"}}
	hint := ""
	if t.ca != "" {
		store := strings.TrimSuffix(t.ca, ".pem") + ".p12"
		q.Set("sslMode", "VERIFY_CA")
		q.Set("trustCertificateKeyStoreUrl", "file:"+store)
		q.Set("trustCertificateKeyStoreType", "PKCS12")
		q.Set("trustCertificateKeyStorePassword", "changeit")
		hint = fmt.Sprintf("Java needs the certificate in a key store: keytool -importcert -noprompt -alias huker -file %s -keystore %s -storetype PKCS12 -storepass changeit",
			shellQuote(t.ca), shellQuote(store))
	}
	return "jdbc:mysql://" + t.hostPort() + "/" + url.PathEscape(t.database) + "?" + strings.ReplaceAll(q.Encode(), "+", "%20"), hint
}

// mysqlDSN is a command line. It has the client ask for the password: everybody on the machine can read command lines. The authority's file
// alone has MySQL's client and MariaDB's, which is Debian's, make sure of the server; for encryption alone each has an option of its own.
func mysqlDSN(t target) (string, string) {
	words := []string{"mysql", "--host=" + t.address, "--port=" + strconv.Itoa(mysqlPort), "--user=" + t.user, "--password"}
	hint := ""
	if t.ca != "" {
		words = append(words, "--ssl-ca="+t.ca)
	} else {
		words = append(words, "--ssl-mode=REQUIRED")
		hint = "MariaDB's client wants --ssl in place of --ssl-mode=REQUIRED; with --ca the line is the same for both"
	}
	if t.database != "" {
		words = append(words, t.database)
	}
	for i, w := range words {
		words[i] = shellQuote(w)
	}
	return strings.Join(words, " "), hint
}

func (a *app) showDSN(cmd *cobra.Command, c *client.Client, to place, f showFlags) error {
	form := dsnForms()[f.dsn]
	err := to.open()
	if err != nil {
		return err
	}
	t := target{address: to.address, user: f.user, database: f.database, ca: f.ca}
	if t.user == "" {
		if t.user, err = a.onlyUser(cmd, c, to); err != nil {
			return err
		}
	}
	if t.password, err = a.readSecret(cmd, f.secret, "Password of user "+t.user+": "); err != nil {
		return err
	}
	t.password = first(t.password, placeholder)
	text, hint := form(t)
	if hint != "" {
		say(cmd, "%s", hint)
	}
	if a.output == "json" {
		return a.printJSON(cmd, map[string]string{"dsn": text})
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
	return err
}

// onlyUser gives the name of the only user that there is.
func (a *app) onlyUser(cmd *cobra.Command, c *client.Client, of place) (string, error) {
	users, err := c.Users(cmd.Context(), of.members[0])
	if err != nil {
		return "", err
	}
	var known []string
	for _, u := range users {
		known = append(known, u.String())
	}
	switch len(known) {
	case 0:
		return "", fmt.Errorf("%s %s has no user yet: make one with \"huker user create %s NAME\", or name root with --user root", of.what, of.name, of.name)
	case 1:
		return users[0].Name, nil
	}
	return "", usagef("name a user with --user; there are %s", strings.Join(known, ", "))
}

// writeCA writes the certificate of an instance's or cluster's authority. It is no secret.
func writeCA(cmd *cobra.Command, c *client.Client, of place, file string) error {
	ca, err := c.CA(cmd.Context(), of.members[0])
	if err != nil {
		return err
	}
	if ca == "" {
		return fmt.Errorf("the %s has no certificate yet", of.what)
	}
	if err := os.WriteFile(file, []byte(ca), 0o644); err != nil {
		return fmt.Errorf("write the certificate: %w", err)
	}
	return nil
}
