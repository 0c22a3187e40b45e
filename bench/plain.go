package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// plainCommands are what a control plane is made of without Fairway.
var plainCommands = []string{"go.etcd.io/etcd/server/v3", "k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kube-controller-manager", "k8s.io/kubernetes/cmd/kube-scheduler"}

// plain starts etcd, the API server, the controller manager and the scheduler as processes of their own, all at once: each
// waits for the one before by itself.
func plain(o options, dir string) (*cluster, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	files, err := plainFiles(dir, at(2))
	if err != nil {
		return nil, err
	}
	c := &cluster{kubeconfig: files.kubeconfig, began: time.Now()}
	command := func(name string) string { return filepath.Join(o.work, name) }
	commands := [][]string{
		{command("etcd"), "--data-dir=" + filepath.Join(dir, "etcd"), "--listen-client-urls=http://" + at(0), "--advertise-client-urls=http://" + at(0),
			"--listen-peer-urls=http://" + at(1), "--log-level=error"},
		{command("kube-apiserver"), "--etcd-servers=http://" + at(0), "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[2]), "--cert-dir=" + dir,
			"--authorization-mode=RBAC", "--token-auth-file=" + files.tokens, "--service-cluster-ip-range=10.96.0.0/16",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + files.key, "--service-account-signing-key-file=" + files.key},
		{command("kube-controller-manager"), "--kubeconfig=" + files.kubeconfig, "--leader-elect=false", "--secure-port=0", "--use-service-account-credentials=true",
			"--service-account-private-key-file=" + files.key},
		{command("kube-scheduler"), "--kubeconfig=" + files.kubeconfig, "--leader-elect=false", "--secure-port=0"},
	}
	for _, a := range commands {
		if err := c.start(dir, a[0], a[1:]...); err != nil {
			c.stop()
			return nil, err
		}
	}
	return c, nil
}

type plainPaths struct{ key, tokens, kubeconfig string }

func plainFiles(dir, server string) (plainPaths, error) {
	f := plainPaths{filepath.Join(dir, "sa.key"), filepath.Join(dir, "tokens.csv"), filepath.Join(dir, "kubeconfig")}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return f, err
	}
	token := rand.Text()
	texts := map[string]string{
		f.key:    string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		f.tokens: token + ",bench,bench,system:masters\n",
		f.kubeconfig: fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "https://%s", insecure-skip-tls-verify: true}}], users: [{name: u, user: {token: %s}}]}`, server, token),
	}
	for name, text := range texts {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return f, err
		}
	}
	return f, nil
}

// freePorts asks the system for ports; they are free again when the processes take them.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
