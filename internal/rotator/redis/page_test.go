package redis_test

import (
	"testing"

	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

func TestPage(t *testing.T) { rotatortest.Page(t, newRotator(t), "redis.md", 1) }
