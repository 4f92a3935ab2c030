package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/keywright/keywright/client"
)

// maxEnrolment bounds an enrolment and a certificate that are read, in bytes.
const maxEnrolment = 64 << 10

func (a *app) enrolCommand() *cobra.Command {
	var in client.EnrolRequest
	var code, certificate, password, env string
	c := &cobra.Command{Use: "enrol", Short: "Exchange a one-time enrolment for a credential of your own", Args: cobra.NoArgs,
		Long: `Exchange a one-time enrolment, as "keywright init" hands it out, for the first credential of your own.

An application gets a secret, which is shown this once, or registers a certificate by which it signs. A person sets a password and gets a
generator of codes (totp), whose otpauth URL is shown this once, or registers a passkey in a browser instead, on the page
/adfs/oauth2/enrol of the token service. The enrolment is used up when the credential is there.`,
		Example: `  keywright enrol --url https://admin.example.org:8444 --file enrolment.txt --env admin.env
  keywright enrol --file enrolment.txt --kind certificate --certificate admin.pem
  keywright enrol --file enrolment.txt --kind totp --password-file password.txt`,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := a.login()
			if err != nil {
				return err
			}
			if err := a.readEnrolment(&in, code, certificate, password); err != nil {
				return err
			}
			defer clear(in.Code)
			defer clear(in.Password)
			made, err := l.Authority.Enrol(c.Context(), in)
			if client.KindOf(err) == client.Unauthenticated {
				return advised{err, "Check that this is the newest enrolment. Another one comes from \"keywright init\" on the machine of the server, with --renew once its administrator has a credential."}
			}
			if err != nil {
				return err
			}
			return a.showEnrolled(made, in.Kind, env)
		}}
	f := c.Flags()
	f.StringVar(&code, "file", "-", "file that holds the enrolment; - for standard input")
	f.StringVar(&in.Kind, "kind", "secret", "secret, certificate or totp")
	f.StringVar(&in.Name, "name", "", "name of the credential, for people")
	f.StringVar(&certificate, "certificate", "", "file with an X.509 certificate, in PEM, for the kind certificate")
	f.StringVar(&password, "password-file", "", "file with the new password, less one line break at its end, for the kind totp")
	f.StringVar(&env, "env", "", "file to write the credential of an application to, as variables, in place of standard output")
	return c
}

func (a *app) readEnrolment(in *client.EnrolRequest, code, certificate, password string) (err error) {
	if certificate != "" {
		in.Kind = "certificate"
		if in.Certificate, err = a.readInput(certificate, maxEnrolment); err != nil {
			return err
		}
	}
	switch in.Kind {
	case "secret":
	case "certificate":
		if certificate == "" {
			return usage("no certificate: give --certificate FILE")
		}
	case "totp":
		if in.Password, err = a.newPassword(password); err != nil {
			return err
		}
	default:
		return usage("the kind %q is not one of secret, certificate and totp", in.Kind)
	}
	if code == "-" && a.interactive() {
		in.Code, err = a.ask("Enrolment: ")
		return err
	}
	in.Code, err = a.readInput(code, maxEnrolment)
	return err
}

func (a *app) newPassword(file string) ([]byte, error) {
	if file == "" && a.interactive() {
		return a.ask("New password: ")
	}
	if file == "" {
		return nil, usage("no password: give --password-file FILE")
	}
	text, err := a.readInput(file, maxEnrolment)
	for len(text) > 0 && (text[len(text)-1] == '\n' || text[len(text)-1] == '\r') {
		text = text[:len(text)-1]
	}
	return text, err
}

func (a *app) showEnrolled(made *client.Enrolled, kind, env string) error {
	if env != "" && kind == "secret" {
		text := fmt.Sprintf("KEYWRIGHT_TENANT_ID=%s\nKEYWRIGHT_CLIENT_ID=%s\nKEYWRIGHT_CLIENT_SECRET=%s\n", made.Tenant, made.ClientID, made.Secret)
		f, err := os.OpenFile(env, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|noFollow, 0o600)
		if err == nil {
			err = f.Chmod(0o600)
			if _, werr := f.WriteString(text); err == nil {
				err = werr
			}
			if cerr := f.Close(); err == nil {
				err = cerr
			}
		}
		if err != nil {
			a.say("The credential could not be written; it follows, as it is shown this once.")
			if perr := a.writeValue([]byte(made.Secret)); perr != nil {
				return perr
			}
			return fmt.Errorf("writing %s: %w", env, err)
		}
		a.say("Enrolled. The credential %s of the application %s is in %s.", made.Credential, made.ClientID, env)
		return nil
	}
	if a.output == "json" || a.output == "yaml" {
		return a.show(made, nil)
	}
	who := made.ClientID + made.Username
	if made.Secret == "" {
		a.say("Enrolled. %s of the tenant %s has the credential %s.", who, made.Tenant, made.Credential)
		return nil
	}
	a.say("Enrolled. %s of the tenant %s has the credential %s, whose secret is shown this once.", who, made.Tenant, made.Credential)
	return a.writeValue([]byte(made.Secret))
}
