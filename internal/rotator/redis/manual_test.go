package redis_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
)

// manualRights are the rules of the administrator as the manual has them.
func manualRights(t *testing.T) (rules []any) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/rotators/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^ACL SETUSER keywright on #\S+ (.+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("the manual does not say how to make the administrator")
	}
	for _, rule := range strings.Fields(string(m[1])) {
		rules = append(rules, rule)
	}
	return rules
}

// lockName is the name of a connection that changes an account.
func lockName(account string) string {
	sum := sha256.Sum256([]byte(account))
	return "keywright:" + hex.EncodeToString(sum[:20])
}
