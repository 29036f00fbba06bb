//go:build !linux

package network

import (
	"context"
	"iter"
)

func changes(ctx context.Context) iter.Seq[struct{}] { return looked(ctx) }
