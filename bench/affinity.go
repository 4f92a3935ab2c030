package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// pinned is set in the environment of a process that was started again on one processor.
const pinned = "KEYWRIGHT_BENCH_PROCESSOR"

// processors lists those that this process may use.
func processors() (list []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("asking for the processors of this process: %w", err)
	}
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list, nil
}

// apart starts this program again on the last of its processors, so that the generator and what it measures do not share one, and returns the first one,
// which is for the latter. The processors of a process are inherited by what it starts (sched_setaffinity(2)).
func apart() (first int, err error) {
	if p := os.Getenv(pinned); p != "" {
		_, err := fmt.Sscan(p, &first)
		return first, err
	}
	list, err := processors()
	if err != nil {
		return 0, err
	}
	if len(list) < 2 {
		return 0, errors.New("the generator needs a processor of its own, and this machine has only one")
	}
	runtime.LockOSThread()
	if err := use(list[len(list)-1]); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	return 0, syscall.Exec(self, os.Args, append(os.Environ(), fmt.Sprint(pinned, "=", list[0])))
}

// use confines this thread to one processor.
func use(processor int) error {
	var set unix.CPUSet
	set.Set(processor)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("moving to processor %d: %w", processor, err)
	}
	return nil
}

// on starts something on a processor and leaves this process where it was.
func on(processor int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	if err := use(processor); err != nil {
		return err
	}
	return errors.Join(start(), unix.SchedSetaffinity(0, &before))
}
