package sigv4

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// The keys, the time and the signatures of AWS's own published examples of Signature Version 4.
var (
	example   = Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	exampleAt = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
)

func TestSignaturesAreThoseOfTheDocumentedExamples(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, contentType, region, service, want string }{
		{"https://example.amazonaws.com/", "", "us-east-1", "service",
			"SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", "application/x-www-form-urlencoded; charset=utf-8", "us-east-1", "iam",
			"SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
	} {
		r, err := http.NewRequest(http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.contentType != "" {
			r.Header.Set("Content-Type", c.contentType)
		}
		Sign(r, nil, example, c.region, c.service, exampleAt)
		want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/" + c.service + "/aws4_request, " + c.want
		if got := r.Header.Get("Authorization"); got != want {
			t.Errorf("%s:\n%s, want\n%s", c.url, got, want)
		}
	}
}

func TestTokensAndBodiesAreSigned(t *testing.T) {
	t.Parallel()
	sign := func(token, body string) string {
		r, _ := http.NewRequest(http.MethodPost, "https://x/a b?q=1", nil)
		c := example
		c.SessionToken = token
		Sign(r, []byte(body), c, "r", "s", exampleAt)
		return r.Header.Get("Authorization")
	}
	if sign("", "a") == sign("", "b") || sign("t", "a") == sign("u", "a") {
		t.Error("a changed request has the same signature")
	}
	if !strings.Contains(sign("t", "a"), "x-amz-security-token") {
		t.Error("the token is not signed")
	}
}

// The shapes of these answers are those of
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html,
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html,
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html and
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html.
func answers(t *testing.T, asked *[]string) *httptest.Server {
	t.Helper()
	sts := func(action string) string {
		return fmt.Sprintf(`<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials>
<AccessKeyId>AK-%[1]s</AccessKeyId><SecretAccessKey>sk</SecretAccessKey><SessionToken>st</SessionToken><Expiration>2015-08-30T13:36:00Z</Expiration>
</Credentials></%[1]sResult></%[1]sResponse>`, action)
	}
	metadata := `{"Code":"Success","AccessKeyId":"AK-%s","SecretAccessKey":"sk","Token":"st","Expiration":"2015-08-30T13:36:00Z"}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		*asked = append(*asked, r.Method+" "+r.URL.Path+" "+r.Form.Get("Action"))
		switch {
		case r.URL.Path == "/latest/api/token":
			fmt.Fprint(w, "imds-token")
		case r.URL.Path == "/latest/meta-data/iam/security-credentials/" && r.Header.Get("X-Aws-Ec2-Metadata-Token") == "imds-token":
			fmt.Fprint(w, "node-role")
		case r.URL.Path == "/latest/meta-data/iam/security-credentials/node-role":
			fmt.Fprintf(w, metadata, "instance")
		case r.URL.Path == "/container" && r.Header.Get("Authorization") == "container-token":
			fmt.Fprintf(w, metadata, "container")
		case r.Form.Get("Action") == "AssumeRole" && r.Form.Get("RoleArn") == "arn:role" && strings.Contains(r.Header.Get("Authorization"), "AKIDENV"):
			fmt.Fprint(w, sts("AssumeRole"))
		case r.Form.Get("Action") == "AssumeRoleWithWebIdentity" && r.Form.Get("WebIdentityToken") == "jwt":
			fmt.Fprint(w, sts("AssumeRoleWithWebIdentity"))
		default:
			http.Error(w, "no", http.StatusForbidden)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestCredentialsAreFoundInTheDocumentedOrder(t *testing.T) {
	t.Parallel()
	var asked []string
	server := answers(t, &asked)
	files := map[string]string{"/creds": "[default]\naws_access_key_id = AKIDFILE\naws_secret_access_key=s\n[other]\naws_access_key_id=AKIDOTHER\naws_secret_access_key=s\naws_session_token=t\n", "/jwt": "jwt\n", "/token": "container-token"}
	environment := map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_EC2_METADATA_SERVICE_ENDPOINT": server.URL}
	source := func() *Source {
		return &Source{Do: http.DefaultClient.Do, Getenv: func(n string) string { return environment[n] }, ReadFile: func(n string) ([]byte, error) {
			if b, ok := files[n]; ok {
				return []byte(b), nil
			}
			return nil, os.ErrNotExist
		}}
	}
	check := func(profile, role, want string) {
		t.Helper()
		c, err := source().Credentials(t.Context(), profile, role, "eu-west-1", exampleAt)
		if err != nil || c.AccessKeyID != want {
			t.Errorf("%q, %v; want %q", c.AccessKeyID, err, want)
		}
	}
	check("", "", "AK-instance")
	environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"], environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = server.URL+"/container", "/token"
	check("", "", "AK-container")
	environment["AWS_SHARED_CREDENTIALS_FILE"] = "/creds"
	check("", "", "AKIDFILE")
	environment["AWS_WEB_IDENTITY_TOKEN_FILE"], environment["AWS_ROLE_ARN"] = "/jwt", "arn:web"
	check("", "", "AK-AssumeRoleWithWebIdentity")
	environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"] = "AKIDENV", "s"
	check("", "", "AKIDENV")
	check("other", "", "AKIDOTHER")
	check("", "arn:role", "AK-AssumeRole")
	if _, err := source().Credentials(t.Context(), "none", "", "r", exampleAt); err == nil || !strings.Contains(err.Error(), `profile "none"`) {
		t.Errorf("a profile that is not there: %v", err)
	}
	if _, err := source().Credentials(t.Context(), "", "arn:forbidden", "r", exampleAt); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a role that may not be assumed: %v", err)
	}
}

func TestCredentialsAreUsedUntilShortlyBeforeTheyExpire(t *testing.T) {
	t.Parallel()
	var asked []string
	server := answers(t, &asked)
	s := &Source{Do: http.DefaultClient.Do, Getenv: func(n string) string {
		return map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s"}[n]
	}}
	for _, at := range []time.Duration{0, time.Minute, 54 * time.Minute, 56 * time.Minute} {
		if _, err := s.Credentials(context.Background(), "", "arn:role", "r", exampleAt.Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) != 2 {
		t.Errorf("asked %d times, want 2: %v", len(asked), asked)
	}
}

func TestEndpointsFollowRegionAndEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{}
	s := &Source{Getenv: func(n string) string { return env[n] }}
	if got := s.Endpoint("CLOUDWATCH", "monitoring", "cn-north-1"); got != "https://monitoring.cn-north-1.amazonaws.com.cn" {
		t.Error(got)
	}
	env["AWS_ENDPOINT_URL"], env["AWS_ENDPOINT_URL_CLOUDWATCH"] = "http://all", "http://cw"
	if a, b := s.Endpoint("CLOUDWATCH", "monitoring", "r"), s.Endpoint("STS", "sts", "r"); a != "http://cw" || b != "http://all" {
		t.Error(a, b)
	}
}
