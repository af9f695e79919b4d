package plain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os/exec"
	"strings"
)

// routerRecipe makes an image with MySQL Router of Debian's, on the base that the servers' image is made from.
const routerRecipe = `FROM %s
RUN apt-get -o Acquire::Check-Valid-Until=false update \
 && apt-get install -y --no-install-recommends mysql-router \
 && rm -rf /var/lib/apt/lists/*
LABEL huker.test=plain
`

// RouterImage gives an image with MySQL Router. The first time it is made, from the newest base image of Debian's sid that Huker has built here.
func RouterImage(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=huker/base:sid-*").Output()
	if err != nil {
		return "", fmt.Errorf("looking for a base image: %w", err)
	}
	base, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if base == "" {
		return "", fmt.Errorf("there is no huker/base:sid-…: `huker image build` makes it")
	}
	recipe := fmt.Sprintf(routerRecipe, base)
	sum := sha256.Sum256([]byte(recipe))
	ref := "huker-test/mysql-router:" + hex.EncodeToString(sum[:6])
	if exec.CommandContext(ctx, "docker", "image", "inspect", ref).Run() == nil {
		return ref, nil
	}
	build := exec.CommandContext(ctx, "docker", "build", "--quiet", "--tag", ref, "-")
	build.Stdin = strings.NewReader(recipe)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("making an image with MySQL Router: %w: %s", err, out)
	}
	return ref, nil
}
