package native

import (
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/audit"
)

// Report is a report as the API tells it; the command line shows the same for a proof without a server.
func Report(r audit.Report) *api.AuditReport {
	out := &api.AuditReport{OK: r.OK(), Records: r.Records, Proven: r.Proven, Checkpoints: r.Checkpoints, TornBytes: r.TornBytes}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, api.AuditProblem{File: p.File, Offset: p.Offset, Record: p.Index, Detail: p.Detail})
	}
	return out
}
