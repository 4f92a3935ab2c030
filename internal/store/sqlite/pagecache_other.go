//go:build !linux

package sqlite

import (
	"errors"
	"os"
)

func cachedBytes(*os.File, int64, int64) (int64, error) { return 0, errors.ErrUnsupported }

func pageCacheRoom() int64 { return 0 }
