package native

import (
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
)

// reportOf sums up the reports of all logs.
func reportOf(logs []archive.LogReport) *api.AuditReport {
	out := &api.AuditReport{OK: true}
	for i := range logs {
		l := &logs[i]
		one := Report(l.Report)
		out.OK, out.Records, out.Proven, out.Checkpoints = out.OK && one.OK, out.Records+one.Records, out.Proven+one.Proven, out.Checkpoints+one.Checkpoints
		out.TornBytes, out.Copies = out.TornBytes+one.TornBytes, out.Copies+l.Copies
		for _, p := range one.Problems {
			if p.Log = l.Origin; len(logs) == 1 {
				p.Log = ""
			}
			out.Problems = append(out.Problems, p)
		}
		wire := api.AuditLogReport{Log: l.Origin, Node: l.Node, Before: l.Before, Why: l.Why, OK: one.OK, Records: l.Records, Proven: l.Proven,
			Checkpoints: l.Checkpoints, Copies: l.Copies}
		if l.Missing != nil {
			gap := wireMissing(*l.Missing)
			wire.Missing = &gap
		}
		out.Logs = append(out.Logs, wire)
	}
	return out
}

func wireMissing(m archive.Missing) api.AuditMissing {
	return api.AuditMissing{Node: m.Node, Log: m.Origin, Since: m.Since, Lost: m.Lost, Why: m.Why}
}

// Report is a report as the API tells it; the command line shows the same for a proof without a server.
func Report(r audit.Report) *api.AuditReport {
	out := &api.AuditReport{OK: r.OK(), Records: r.Records, Proven: r.Proven, Checkpoints: r.Checkpoints, TornBytes: r.TornBytes}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, api.AuditProblem{File: p.File, Offset: p.Offset, Record: p.Index, Detail: p.Detail})
	}
	return out
}
