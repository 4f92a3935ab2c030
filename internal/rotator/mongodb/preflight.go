package mongodb

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keywright/keywright/internal/rotator"
)

// Preflight proves that a run can succeed.
func (r *Rotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c, err := parse(t.Config)
	if err != nil {
		return nil, err
	}
	if err := p.Suits("MongoDB, whose users have one password each,", r.Describe().Strategies, t.Admin, checkName); err != nil {
		return nil, err
	}
	report := &rotator.Report{Identities: map[string]string{}}
	writable := false
	for _, e := range c.Endpoints {
		s, err := c.admin(ctx, t, e)
		if err != nil {
			return nil, err
		}
		err = s.inspect(ctx, p, report)
		if err == nil && !writable {
			writable, err = s.writes(ctx)
		}
		s.close()
		if err != nil {
			return nil, failed(err, "inspecting the users at %s", e)
		}
	}
	if !writable {
		return nil, rotator.Fail(rotator.NotApplied, nil, "none of the endpoints takes writes: there is no primary now, or it is not among them")
	}
	if err := p.ProveCurrent(ctx, t, r.Probe); err != nil {
		return nil, err
	}
	return report, report.Remember()
}

// inspect looks at the administrator and the users at one endpoint.
func (s *session) inspect(ctx context.Context, p rotator.Plan, report *rotator.Report) error {
	var build struct {
		Version string `bson:"version"`
	}
	if err := s.run(ctx, "admin", bson.D{{Key: "buildInfo", Value: 1}}, &build); err != nil {
		return err
	}
	if report.System == "" {
		report.System = "MongoDB " + build.Version
	}
	if err := s.mayChange(ctx); err != nil {
		return err
	}
	var first *user
	for i, a := range p.Accounts {
		u, err := s.user(ctx, a)
		switch {
		case err != nil:
			return err
		case u == nil:
			return rotator.Fail(rotator.Misconfigured, nil, "there is no user %q in the database %q at %s: create it first", a, s.config.Database, s.endpoint)
		case u.identity() == "":
			return rotator.Fail(rotator.Misconfigured, nil, "%s does not tell the id of %q, by which two secrets of one user are recognised: it is older than MongoDB 4.4, or something else", s.endpoint, a)
		case report.Identities[a] != "" && report.Identities[a] != u.identity():
			return rotator.Fail(rotator.NotApplied, nil, "the user %q is another one at %s: it lags behind, or belongs to another deployment", a, s.endpoint)
		case i > 0 && !slices.Equal(first.rights(), u.rights()):
			return rotator.Fail(rotator.Misconfigured, nil, "the users %q and %q of the pair differ in roles or mechanisms: give both the same", p.Accounts[0], a)
		}
		report.Identities[a], first = u.identity(), u
	}
	return nil
}

// mayChange proves that the administrator has the action changePassword on the database.
func (s *session) mayChange(ctx context.Context) error {
	var status struct {
		Info struct {
			Privileges []struct {
				Resource struct {
					DB         *string `bson:"db"`
					Collection *string `bson:"collection"`
					Any        bool    `bson:"anyResource"`
				} `bson:"resource"`
				Actions []string `bson:"actions"`
			} `bson:"authenticatedUserPrivileges"`
		} `bson:"authInfo"`
	}
	if err := s.run(ctx, "admin", bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}}, &status); err != nil {
		return err
	}
	for _, p := range status.Info.Privileges {
		covers := p.Resource.Any || p.Resource.DB != nil && (*p.Resource.DB == "" || *p.Resource.DB == s.config.Database) && (p.Resource.Collection == nil || *p.Resource.Collection == "")
		if covers && (slices.Contains(p.Actions, "changePassword") || slices.Contains(p.Actions, "anyAction")) {
			return nil
		}
	}
	return rotator.Fail(rotator.Denied, nil, "the administrator may not change passwords at %s: give it a role with changePassword and viewUser on the database %q", s.endpoint, s.config.Database)
}
