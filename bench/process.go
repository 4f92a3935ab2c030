package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is USER_HZ, the unit of times in /proc (proc(5)); it is 100 on every Linux that Go supports.
const ticksPerSecond = 100

// cpuTime reads the CPU time that a process has spent, in user mode and in the kernel.
func cpuTime(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses, which may hold blanks; utime and stime are fields 14 and 15.
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("the kernel's process table has an unknown form")
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond, errors.Join(err1, err2)
}

// child is a server process. It ends when its standard input does, so that none is left behind.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// spawn starts a process and waits for a line of its output that says it is ready.
func spawn(ready string, name string, args ...string) (*child, string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	if name == os.Args[0] {
		cmd.Env = append(os.Environ(), "GOGC=400") // as a server of ours sets it for itself at first
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	c := &child{cmd: cmd, lines: bufio.NewScanner(out)}
	for c.lines.Scan() {
		if line, ok := strings.CutPrefix(c.lines.Text(), ready); ok {
			go func() { // drain
				for c.lines.Scan() {
				}
			}()
			return c, strings.TrimSpace(line), nil
		}
	}
	c.end()
	return nil, "", fmt.Errorf("%s ended before it was ready", name)
}

func (c *child) end() error {
	c.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { c.cmd.Process.Kill() })
	defer timer.Stop()
	return c.cmd.Wait()
}
