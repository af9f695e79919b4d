package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// AccountChange is a new account or a change of one; nil leaves as it is.
type AccountChange struct {
	Name             *string
	Email            *string
	Description      *string
	DefaultProjectID *string
	Password         *string
	Enabled          *bool
}

func (c AccountChange) apply(a *model.Account, hash string) error {
	set(&a.Name, c.Name)
	set(&a.Email, c.Email)
	set(&a.Description, c.Description)
	set(&a.DefaultProjectID, c.DefaultProjectID)
	set(&a.Enabled, c.Enabled)
	if c.Password != nil {
		a.PasswordHash = hash
	}
	if err := checkName("user", a.Name, maxName); err != nil {
		return err
	}
	return errors.Join(checkText("email", a.Email), checkText("description", a.Description))
}

// hashChange hashes the change's password, before any transaction: it takes long.
func (s *Service) hashChange(ctx context.Context, c AccountChange) (string, error) {
	if c.Password == nil {
		return "", nil
	}
	if err := CheckPassword(*c.Password); err != nil {
		return "", err
	}
	return s.hasher.hash(ctx, *c.Password)
}

// Accounts lists all accounts by name.
func (s *Service) Accounts(ctx context.Context) ([]model.Account, error) {
	var out []model.Account
	err := s.store.View(ctx, func(tx metastore.Tx) (err error) {
		out, err = tx.Identity().Accounts().List(ctx)
		return err
	})
	return out, wrapStore("list users", err)
}

// Account gives one by id.
func (s *Service) Account(ctx context.Context, id string) (model.Account, error) {
	return s.findAccount(ctx, PasswordProof{AccountID: id})
}

// CreateAccount makes an account, enabled unless told otherwise. Without a password it cannot sign in.
func (s *Service) CreateAccount(ctx context.Context, c AccountChange) (model.Account, error) {
	id, err := newID()
	if err != nil {
		return model.Account{}, err
	}
	a := model.Account{ID: id, Enabled: true, Created: s.now().UTC()}
	if err := c.apply(&a, ""); err != nil { // before the hashing, which takes long
		return model.Account{}, err
	}
	if a.PasswordHash, err = s.hashChange(ctx, c); err != nil {
		return model.Account{}, err
	}
	err = s.update(ctx, "create the user", func(tx metastore.Tx) error {
		if err := checkDefaultProject(ctx, tx, a.DefaultProjectID); err != nil {
			return err
		}
		return tx.Identity().Accounts().Create(ctx, a)
	})
	return a, err
}

// UpdateAccount changes an account. A new password, and disabling, end its tokens.
func (s *Service) UpdateAccount(ctx context.Context, id string, c AccountChange) (model.Account, error) {
	if _, err := s.Account(ctx, id); err != nil {
		return model.Account{}, err
	}
	hash, err := s.hashChange(ctx, c)
	if err != nil {
		return model.Account{}, err
	}
	return s.storeChange(ctx, id, c, hash, "")
}

// storeChange writes a change. With provedHash the account's password must still be that one.
func (s *Service) storeChange(ctx context.Context, id string, c AccountChange, hash, provedHash string) (model.Account, error) {
	var a model.Account
	err := s.update(ctx, "change the user", func(tx metastore.Tx) (err error) {
		if a, err = tx.Identity().Accounts().Get(ctx, id); err != nil {
			return err
		}
		if provedHash != "" && a.PasswordHash != provedHash {
			return fmt.Errorf("%w: the password was changed meanwhile", ErrUnauthorized)
		}
		if err := c.apply(&a, hash); err != nil {
			return err
		}
		if c.DefaultProjectID != nil {
			if err := checkDefaultProject(ctx, tx, a.DefaultProjectID); err != nil {
				return err
			}
		}
		if err := tx.Identity().Accounts().Update(ctx, a); err != nil {
			return err
		}
		if c.Password != nil || !a.Enabled {
			return tx.Identity().Tokens().DeleteByAccount(ctx, id)
		}
		return nil
	})
	return a, err
}

// DeleteAccount removes an account with its assignments and tokens.
func (s *Service) DeleteAccount(ctx context.Context, id string) error {
	return s.update(ctx, "delete the user", func(tx metastore.Tx) error {
		if _, err := tx.Identity().Accounts().Get(ctx, id); err != nil {
			return err
		}
		return tx.Identity().Accounts().Delete(ctx, id)
	})
}

// ChangePassword sets an account's password for somebody who knows the old one, and ends its tokens. Attempts are
// limited as sign-ins are.
func (s *Service) ChangePassword(ctx context.Context, id, oldPassword, newPassword, address string) error {
	if err := CheckPassword(newPassword); err != nil {
		return err
	}
	account, err := s.checkPassword(ctx, PasswordProof{AccountID: id, Password: oldPassword}, address)
	if err != nil {
		return err
	}
	if oldPassword == newPassword {
		return refuse(ErrInvalid, "the new password must differ from the old one")
	}
	hash, err := s.hasher.hash(ctx, newPassword)
	if err != nil {
		return err
	}
	_, err = s.storeChange(ctx, id, AccountChange{Password: &newPassword}, hash, account.PasswordHash)
	return err
}

func checkDefaultProject(ctx context.Context, tx metastore.Tx, id string) error {
	if id == "" {
		return nil
	}
	_, err := tx.Identity().Projects().Get(ctx, id)
	if errors.Is(err, metastore.ErrNotFound) {
		return refuse(ErrInvalid, "the default project %q does not exist", id)
	}
	return err
}
