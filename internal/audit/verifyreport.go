package audit

import (
	"fmt"
)

// Problem is one thing that is wrong.
type Problem struct {
	File   string
	Offset int64 // in bytes; -1 when it is about the whole file
	Index  int64 // of the record or leaf; -1 when it is about none
	Detail string
}

// String tells the problem in one line.
func (p Problem) String() string {
	s := p.File
	if p.Offset >= 0 {
		s += fmt.Sprintf(" at offset %d", p.Offset)
	}
	if p.Index >= 0 {
		s += fmt.Sprintf(", record %d", p.Index)
	}
	return s + ": " + p.Detail
}

// Report is the result of Verify.
type Report struct {
	Records     int64 // whole frames
	Proven      int64 // of these, covered by a checkpoint that holds
	Checkpoints int
	Problems    []Problem
	// TornBytes is how many bytes of an unfinished record stand at the end, as a crash leaves them. They are no problem:
	// opening the log cuts them.
	TornBytes int64
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// maxProblems bounds a report: one removed record makes every later leaf wrong.
const maxProblems = 100

func (v *verification) problem(file string, offset, index int64, format string, args ...any) {
	if len(v.report.Problems) < maxProblems {
		v.report.Problems = append(v.report.Problems, Problem{file, offset, index, fmt.Sprintf(format, args...)})
	}
}
