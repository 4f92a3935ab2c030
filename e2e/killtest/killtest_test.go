package killtest_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/killtest"
	"github.com/keywright/keywright/e2e/workload"
)

func TestMain(m *testing.M) {
	workload.Main(m, map[string]workload.Func{"lines": linesWorkload})
}

// linesWorkload appends lines to a file. The variant "buffered" acknowledges what still lies in its own memory, which is
// what kill -9 takes; the page cache survives it.
func linesWorkload(run *workload.Run) error {
	file, err := os.OpenFile(filepath.Join(run.Dir, "lines"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	var out io.Writer = file
	if run.Variant == "buffered" {
		out = bufio.NewWriterSize(file, 1<<16)
	}
	for i := 0; ; i++ {
		line := fmt.Sprintf("%d.%d", os.Getpid(), i)
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
		if err := run.Ack("%s", line); err != nil {
			return err
		}
	}
}

func checkLines(dir string, acked []string) error {
	data, err := os.ReadFile(filepath.Join(dir, "lines"))
	if err != nil {
		return err
	}
	present := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		present[strings.TrimSpace(line)] = true
	}
	for _, line := range acked {
		if !present[line] {
			return fmt.Errorf("%s was acknowledged and is gone", line)
		}
	}
	return nil
}

func TestKillTakesNothingFromThePageCache(t *testing.T) {
	killtest.Killer{Workload: "lines", Kills: 5, Check: checkLines}.Run(t).RequireSound(t)
}

// TestBufferedIsCaught is the control.
func TestBufferedIsCaught(t *testing.T) {
	killtest.Killer{Workload: "lines", Variant: "buffered", Kills: 5, Check: checkLines}.Run(t).RequireCaught(t)
}
