package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// Methods of sign-in.
const (
	MethodPassword = "password"
	MethodToken    = "token"
)

// Scope is what a token is wanted for. The zero value means the account's default project, or unscoped where it has none.
type Scope struct {
	Unscoped    bool
	ProjectID   string
	ProjectName string
}

// SignIn is a request for a token: by password, by a token, or by both.
type SignIn struct {
	Address string // of the peer, see ClientAddress

	Password *PasswordProof
	Token    string
	Scope    Scope
}

// PasswordProof names an account by id or name, and proves it.
type PasswordProof struct {
	AccountID   string
	AccountName string
	Password    string
}

// limitKey is the user half of what failures are counted under. Ids and names are told apart.
func (p PasswordProof) limitKey() string {
	if p.AccountID != "" {
		return "id:" + p.AccountID
	}
	return "name:" + p.AccountName
}

// SignIn issues a token. The token itself is only here; the store has its hash.
func (s *Service) SignIn(ctx context.Context, in SignIn) (string, Session, error) {
	issued := s.now().UTC().Truncate(1000) // the store keeps microseconds
	draft := model.Token{IssuedAt: issued, ExpiresAt: issued.Add(s.ttl)}
	var proved model.Account
	if in.Password != nil {
		account, err := s.checkPassword(ctx, *in.Password, in.Address)
		if err != nil {
			return "", Session{}, err
		}
		proved = account
		draft.AccountID, draft.Methods = account.ID, []string{MethodPassword}
	}
	var parent model.Token
	if in.Token != "" {
		old, err := s.Validate(ctx, in.Token)
		if err != nil {
			return "", Session{}, err
		}
		if in.Password != nil && old.Account.ID != proved.ID {
			return "", Session{}, fmt.Errorf("%w: the token is another account's", ErrUnauthorized)
		}
		proved, parent = old.Account, old.Token
		draft.AccountID = old.Account.ID
		draft.Methods = append([]string{MethodToken}, without(old.Token.Methods, MethodToken)...)
		draft.ExpiresAt = parent.ExpiresAt // else a token could be renewed for ever
	}
	if draft.AccountID == "" {
		return "", Session{}, fmt.Errorf("%w: no credentials", ErrUnauthorized)
	}
	var provedHash string
	if in.Password != nil {
		provedHash = proved.PasswordHash
	}
	return s.issue(ctx, draft, parent, provedHash, in.Scope)
}

// issue stores a token after a last look at the account: nothing may have been revoked since it was proved.
func (s *Service) issue(ctx context.Context, t, parent model.Token, provedHash string, scope Scope) (string, Session, error) {
	token, hash, err := newToken()
	if err != nil {
		return "", Session{}, err
	}
	audit, err := newID()
	if err != nil {
		return "", Session{}, err
	}
	t.Hash, t.AuditID = hash, audit
	if parent.AuditID != "" {
		chain := strings.Fields(parent.AuditID)
		t.AuditID += " " + chain[len(chain)-1] // as Keystone: its own, and that of the first token
	}
	var out Session
	err = s.store.Update(ctx, func(tx metastore.Tx) error {
		account, err := tx.Identity().Accounts().Get(ctx, t.AccountID)
		if err != nil {
			return err
		}
		if provedHash != "" && account.PasswordHash != provedHash {
			return fmt.Errorf("%w: the password was changed meanwhile", ErrUnauthorized)
		}
		if parent.Hash != "" {
			if _, err := tx.Identity().Tokens().Get(ctx, parent.Hash); err != nil {
				return err
			}
		}
		scoped := t
		if scoped.ProjectID, err = resolveScope(ctx, tx, account, scope); err != nil {
			return err
		}
		if out, err = s.sessionOf(ctx, tx, scoped); err != nil {
			return err
		}
		return tx.Identity().Tokens().Create(ctx, scoped)
	})
	if errors.Is(err, metastore.ErrNotFound) {
		return "", Session{}, fmt.Errorf("%w: no such account or project", ErrUnauthorized)
	}
	if err != nil {
		return "", Session{}, wrapStore("issue a token", err)
	}
	return token, out, nil
}

// resolveScope gives the project's id, or "" for an unscoped token.
func resolveScope(ctx context.Context, tx metastore.Tx, account model.Account, scope Scope) (string, error) {
	switch {
	case scope.Unscoped:
		return "", nil
	case scope.ProjectID != "":
		p, err := tx.Identity().Projects().Get(ctx, scope.ProjectID)
		return p.ID, err
	case scope.ProjectName != "":
		p, err := tx.Identity().Projects().ByName(ctx, scope.ProjectName)
		return p.ID, err
	case account.DefaultProjectID == "":
		return "", nil
	}
	// A default project that cannot be used is no reason to refuse: the token is unscoped then, as in Keystone.
	p, err := tx.Identity().Projects().Get(ctx, account.DefaultProjectID)
	if errors.Is(err, metastore.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	roles, err := tx.Identity().RolesOn(ctx, account.ID, p.ID)
	if err != nil || !p.Enabled || len(roles) == 0 {
		return "", err
	}
	return p.ID, nil
}

// checkPassword gives the account that a password proves. All refusals look the same and take the same time.
func (s *Service) checkPassword(ctx context.Context, p PasswordProof, address string) (model.Account, error) {
	refused := fmt.Errorf("%w: wrong user name or password", ErrUnauthorized)
	if len(p.Password) > MaxPassword || len(p.AccountName) > maxName || len(p.AccountID) > maxName {
		return model.Account{}, refused
	}
	key := p.limitKey()
	if err := s.guess.allow(key, address, s.now()); err != nil {
		return model.Account{}, err
	}
	account, err := s.findAccount(ctx, p)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return model.Account{}, err
	}
	if err := s.hasher.enter(ctx); err != nil {
		return model.Account{}, err
	}
	defer s.hasher.leave()
	if err := s.guess.allow(key, address, s.now()); err != nil {
		return model.Account{}, err
	}
	ok, rehash := s.hasher.verifyNow(account.PasswordHash, p.Password)
	if !ok {
		s.guess.failed(key, address, s.now())
		s.log.Info("sign-in refused", "op", "identity.signin", "address", address)
		return model.Account{}, refused
	}
	if !account.Enabled {
		return model.Account{}, refused
	}
	if rehash {
		account = s.rehash(ctx, account, p.Password)
	}
	return account, nil
}

// rehash stores the password under today's costs. When that fails the old hash still works.
func (s *Service) rehash(ctx context.Context, account model.Account, password string) model.Account {
	fresh, err := s.hasher.hashNow(password)
	if err != nil {
		return account
	}
	updated := account
	err = s.store.Update(ctx, func(tx metastore.Tx) error {
		current, err := tx.Identity().Accounts().Get(ctx, account.ID)
		if err != nil {
			return err
		}
		if current.PasswordHash != account.PasswordHash { // by another sign-in at the same time, or by a change of password
			ok, _ := s.hasher.verifyNow(current.PasswordHash, password)
			if ok {
				updated = current
			}
			return nil
		}
		current.PasswordHash = fresh
		updated = current
		return tx.Identity().Accounts().Update(ctx, current)
	})
	if err != nil {
		s.log.Warn("a password was not hashed anew", "op", "identity.rehash", "account", account.ID, "err", err)
		return account
	}
	return updated
}

func (s *Service) findAccount(ctx context.Context, p PasswordProof) (model.Account, error) {
	var account model.Account
	err := s.store.View(ctx, func(tx metastore.Tx) (err error) {
		if p.AccountID != "" {
			account, err = tx.Identity().Accounts().Get(ctx, p.AccountID)
		} else {
			account, err = tx.Identity().Accounts().ByName(ctx, p.AccountName)
		}
		return err
	})
	return account, wrapStore("find an account", err)
}

func without(list []string, drop string) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		if v != drop {
			out = append(out, v)
		}
	}
	return out
}
