package e2e

import (
	"encoding/base64"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/util/cert"
)

// freePort returns a port that nobody listens on just now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestStockOperatorRunsAsALocalProcessFromItsOwnManifests(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	c := up(t, "--memory", "--data", t.TempDir(), "--nodes", "1", "--pod-start", "100ms", "--program", "*/greeter-operator=local:"+strconv.Itoa(port))

	certs := t.TempDir()
	crt, key, err := cert.GenerateSelfSignedCertKey("greeter.greeter.svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"tls.crt": crt, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(certs, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("operator/manifests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifests := filepath.Join(certs, "manifests.yaml")
	filled := strings.Replace(string(text), "CA_BUNDLE", base64.StdEncoding.EncodeToString(crt), 1)
	if err := os.WriteFile(manifests, []byte(filled), 0o600); err != nil {
		t.Fatal(err)
	}
	c.kubectl("apply", "-f", manifests)
	c.kubectl("wait", "--for=condition=Established", "crd/greetings.example.com", "--timeout=60s")

	var log lockedBuffer
	operator := exec.Command(program(t, "e2e/operator", "./operator"), "--port", strconv.Itoa(port), "--certs", certs)
	operator.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	operator.Stdout, operator.Stderr = &log, &log
	if err := operator.Start(); err != nil {
		t.Fatal(err)
	}
	defer operator.Wait()
	defer operator.Process.Kill()
	defer func() {
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	c.kubectl("rollout", "status", "deployment/greeter", "-n", "greeter", "--timeout=60s")

	apply := func(name, words string) (string, error) {
		file := filepath.Join(certs, name+".yaml")
		object := "apiVersion: example.com/v1\nkind: Greeting\nmetadata: {name: " + name + "}\nspec: {words: \"" + words + "\"}\n"
		if err := os.WriteFile(file, []byte(object), 0o600); err != nil {
			t.Fatal(err)
		}
		return c.try("apply", "-f", file)
	}
	eventually(t, func() string {
		out, err := apply("silent", "")
		if err == nil || !strings.Contains(out, "a greeting needs words") {
			return "the webhook does not refuse a greeting without words: " + out
		}
		return ""
	})
	if out, err := apply("hello", "good morning"); err != nil {
		t.Fatalf("a good greeting is refused: %s", out)
	}
	eventually(t, func() string {
		if out, err := c.try("get", "configmap", "hello", "-o", "jsonpath={.data.words}"); err != nil || out != "good morning" {
			return "the operator has not made the ConfigMap: " + out
		}
		return ""
	})
	c.kubectl("delete", "greeting", "hello")
	eventually(t, func() string {
		if out, err := c.try("get", "configmap", "hello"); err == nil {
			return "the garbage collector has left the ConfigMap: " + out
		}
		return ""
	})
}
