package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeConf writes a configuration of nginx.
func writeConf(dir, name, conf string) string {
	path := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		panic(err) // the folder was made a moment ago
	}
	return path
}

// common is what both instances of nginx need to run as anybody, in the foreground, with one worker.
func common(dir, name string) string {
	return fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/%[2]s.pid; error_log %[1]s/%[2]s.err;
events { worker_connections 4096; }
`, dir, name)
}

func temporary(dir string) string {
	var b strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	return b.String()
}

// backendConf answers 100 bytes on all addresses.
func backendConf(dir string, addresses []string) string {
	var listen strings.Builder
	for _, a := range addresses {
		fmt.Fprintf(&listen, "listen %s;\n", a)
	}
	return common(dir, "backend") + fmt.Sprintf(`http { access_log off; keepalive_requests 100000000; %s
server { %s location / { default_type text/plain; return 200 "%s"; } } }
`, temporary(dir), listen.String(), strings.Repeat("x", 100))
}

// proxyConf passes requests on to the backends, 80 to 20, over connections that are kept.
func proxyConf(dir, address string, backends []string) string {
	return common(dir, "proxy") + fmt.Sprintf(`http { access_log off; keepalive_requests 100000000; %s
upstream web { server %s weight=80; server %s weight=20; keepalive 128; keepalive_requests 100000000; }
server { listen %s; location / { proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection "";
proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Request-Id $request_id; } } }
`, temporary(dir), backends[0], backends[1], address)
}
