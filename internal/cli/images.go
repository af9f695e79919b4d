package cli

import (
	"context"

	"github.com/huker/huker/internal/model"
)

func builtVersions(context.Context) ([]model.DatastoreVersion, error) { return nil, nil }
