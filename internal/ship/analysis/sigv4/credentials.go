package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	renewBefore   = 5 * time.Minute // before credentials expire, so that none expires on its way
	instanceWait  = 2 * time.Second // where there is no instance metadata nobody answers
	answerMax     = 64 << 10
	keptMax       = 64 // credentials of different roles and profiles
	containerHost = "http://169.254.170.2"
	instanceHost  = "http://169.254.169.254"
	sessionName   = "fairway"
)

// Source finds credentials where AWS's own tools find them, in the documented order: environment, web identity (IAM roles
// for service accounts), shared files, container (EKS Pod Identity), instance. What it found is used until shortly before
// it expires. Safe for use by several goroutines.
//
// Source: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
type Source struct {
	Getenv   func(string) string          // nil = os.Getenv
	ReadFile func(string) ([]byte, error) // nil = os.ReadFile
	Do       func(*http.Request) (*http.Response, error)

	mu   sync.Mutex
	kept map[string]Credentials
}

// Region that the environment names, "" when none does.
func (s *Source) Region() string {
	if r := s.env("AWS_REGION"); r != "" {
		return r
	}
	return s.env("AWS_DEFAULT_REGION")
}

// Endpoint of a service in a region, as https://monitoring.eu-west-1.amazonaws.com. AWS_ENDPOINT_URL_<id> and
// AWS_ENDPOINT_URL of the environment replace it; id is the service's name there, as in CLOUDWATCH.
//
// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
func (s *Source) Endpoint(id, host, region string) string {
	for _, name := range []string{"AWS_ENDPOINT_URL_" + id, "AWS_ENDPOINT_URL"} {
		if u := s.env(name); u != "" {
			return u
		}
	}
	domain := "amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		domain += ".cn"
	}
	return "https://" + host + "." + region + "." + domain
}

// Credentials of a profile ("" = the default), or of the role that these may assume when roleARN is given.
func (s *Source) Credentials(ctx context.Context, profile, roleARN, region string, now time.Time) (Credentials, error) {
	key := profile + "\x00" + roleARN + "\x00" + region
	s.mu.Lock()
	c, ok := s.kept[key]
	s.mu.Unlock()
	if ok && (c.Expires.IsZero() || now.Before(c.Expires.Add(-renewBefore))) {
		return c, nil
	}
	c, err := s.find(ctx, profile, region, now)
	if err == nil && roleARN != "" {
		c, err = s.assume(ctx, c, roleARN, region, now)
	}
	if err != nil {
		return Credentials{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil || len(s.kept) >= keptMax {
		s.kept = map[string]Credentials{}
	}
	if !c.Expires.IsZero() { // what does not expire is found again at once, should the environment change
		s.kept[key] = c
	}
	return c, nil
}

func (s *Source) find(ctx context.Context, profile, region string, now time.Time) (Credentials, error) {
	if profile == "" {
		c := Credentials{AccessKeyID: s.env("AWS_ACCESS_KEY_ID"), SecretAccessKey: s.env("AWS_SECRET_ACCESS_KEY"), SessionToken: s.env("AWS_SESSION_TOKEN")}
		if c.AccessKeyID != "" && c.SecretAccessKey != "" {
			return c, nil
		}
		if file, role := s.env("AWS_WEB_IDENTITY_TOKEN_FILE"), s.env("AWS_ROLE_ARN"); file != "" && role != "" {
			return s.webIdentity(ctx, file, role, region)
		}
	}
	c, err := s.shared(profile)
	if err != nil || c.AccessKeyID != "" {
		return c, err
	}
	if profile != "" {
		return c, fmt.Errorf("AWS profile %q is not in the shared credentials file", profile)
	}
	if u := s.containerURL(); u != "" {
		return s.container(ctx, u)
	}
	if strings.EqualFold(s.env("AWS_EC2_METADATA_DISABLED"), "true") {
		return c, errors.New("no AWS credentials: neither the environment nor a shared file nor a container has any, and instance metadata is switched off")
	}
	if c, err = s.instance(ctx); err != nil {
		return c, fmt.Errorf("no AWS credentials: neither the environment nor a shared file nor a container has any, and the instance does not answer: %w", err)
	}
	return c, nil
}

// shared reads the shared credentials file, an INI file with a section a profile.
func (s *Source) shared(profile string) (Credentials, error) {
	if profile == "" {
		if profile = s.env("AWS_PROFILE"); profile == "" {
			profile = "default"
		}
	}
	name := s.env("AWS_SHARED_CREDENTIALS_FILE")
	if name == "" {
		home := s.env("HOME")
		if home == "" {
			return Credentials{}, nil
		}
		name = filepath.Join(home, ".aws", "credentials")
	}
	b, err := s.readFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return Credentials{}, nil
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("reading AWS's shared credentials: %w", err)
	}
	var c Credentials
	in := false
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			in = strings.TrimSpace(strings.Trim(line, "[]")) == profile
		}
		key, value, ok := strings.Cut(line, "=")
		if !in || !ok {
			continue
		}
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "aws_access_key_id":
			c.AccessKeyID = value
		case "aws_secret_access_key":
			c.SecretAccessKey = value
		case "aws_session_token":
			c.SessionToken = value
		}
	}
	return c, nil
}

// stsAnswer has the part of an answer of AWS's token service that matters.
type stsAnswer struct {
	AccessKeyID     string    `xml:"AccessKeyId"`
	SecretAccessKey string    `xml:"SecretAccessKey"`
	SessionToken    string    `xml:"SessionToken"`
	Expiration      time.Time `xml:"Expiration"`
}

func (a stsAnswer) credentials() Credentials {
	return Credentials{a.AccessKeyID, a.SecretAccessKey, a.SessionToken, a.Expiration}
}

// webIdentity exchanges the token of a service account.
//
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
func (s *Source) webIdentity(ctx context.Context, file, role, region string) (Credentials, error) {
	token, err := s.readFile(file)
	if err != nil {
		return Credentials{}, fmt.Errorf("reading AWS's web identity token: %w", err)
	}
	name := s.env("AWS_ROLE_SESSION_NAME")
	if name == "" {
		name = sessionName
	}
	body := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {role}, "RoleSessionName": {name},
		"WebIdentityToken": {strings.TrimSpace(string(token))}}.Encode()
	var answer struct {
		Credentials stsAnswer `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if err := s.sts(ctx, body, region, nil, time.Time{}, &answer); err != nil {
		return Credentials{}, fmt.Errorf("assuming %s with a web identity: %w", role, err)
	}
	return answer.Credentials.credentials(), nil
}

// assume exchanges credentials for those of a role.
//
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (s *Source) assume(ctx context.Context, with Credentials, role, region string, now time.Time) (Credentials, error) {
	body := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {role}, "RoleSessionName": {sessionName}}.Encode()
	var answer struct {
		Credentials stsAnswer `xml:"AssumeRoleResult>Credentials"`
	}
	if err := s.sts(ctx, body, region, &with, now, &answer); err != nil {
		return Credentials{}, fmt.Errorf("assuming %s: %w", role, err)
	}
	return answer.Credentials.credentials(), nil
}

func (s *Source) sts(ctx context.Context, body, region string, sign *Credentials, now time.Time, answer any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Endpoint("STS", "sts", region)+"/", strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if sign != nil {
		Sign(r, []byte(body), *sign, region, "sts", now)
	}
	b, err := s.do(r)
	if err != nil {
		return err
	}
	return xml.Unmarshal(b, answer)
}

func (s *Source) containerURL() string {
	if u := s.env("AWS_CONTAINER_CREDENTIALS_FULL_URI"); u != "" {
		return u
	}
	if path := s.env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
		return containerHost + path
	}
	return ""
}

// metadataAnswer is what containers and instances answer.
type metadataAnswer struct {
	AccessKeyID     string    `json:"AccessKeyId"`
	SecretAccessKey string    `json:"SecretAccessKey"`
	Token           string    `json:"Token"`
	Expiration      time.Time `json:"Expiration"`
}

// container asks the agent that serves a container's credentials.
//
// Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
func (s *Source) container(ctx context.Context, from string) (Credentials, error) {
	token := s.env("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if file := s.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		b, err := s.readFile(file)
		if err != nil {
			return Credentials{}, fmt.Errorf("reading the container's token for AWS: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	return s.metadata(ctx, from, "Authorization", token)
}

// instance asks the machine, version 2 of its service.
//
// Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
func (s *Source) instance(ctx context.Context) (Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, instanceWait)
	defer cancel()
	host := s.env("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	if host == "" {
		host = instanceHost
	}
	host = strings.TrimSuffix(host, "/")
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, host+"/latest/api/token", nil)
	if err != nil {
		return Credentials{}, err
	}
	r.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
	token, err := s.do(r)
	if err != nil {
		return Credentials{}, err
	}
	roles := host + "/latest/meta-data/iam/security-credentials/"
	if r, err = http.NewRequestWithContext(ctx, http.MethodGet, roles, nil); err != nil {
		return Credentials{}, err
	}
	r.Header.Set("X-Aws-Ec2-Metadata-Token", string(token))
	role, err := s.do(r)
	if err != nil {
		return Credentials{}, err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(role)), "\n")
	return s.metadata(ctx, roles+first, "X-Aws-Ec2-Metadata-Token", string(token))
}

func (s *Source) metadata(ctx context.Context, from, header, token string) (Credentials, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return Credentials{}, err
	}
	if token != "" {
		r.Header.Set(header, token)
	}
	b, err := s.do(r)
	if err != nil {
		return Credentials{}, err
	}
	var a metadataAnswer
	if err := json.Unmarshal(b, &a); err != nil {
		return Credentials{}, fmt.Errorf("the credentials from %s: %w", from, err)
	}
	return Credentials{a.AccessKeyID, a.SecretAccessKey, a.Token, a.Expiration}, nil
}

func (s *Source) do(r *http.Request) ([]byte, error) {
	answer, err := s.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, answerMax))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s", r.URL.Host, answer.Status)
	}
	return b, err
}

func (s *Source) env(name string) string {
	if s.Getenv == nil {
		return os.Getenv(name)
	}
	return s.Getenv(name)
}

func (s *Source) readFile(name string) ([]byte, error) {
	if s.ReadFile == nil {
		return os.ReadFile(name)
	}
	return s.ReadFile(name)
}
