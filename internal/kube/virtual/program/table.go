package program

import (
	"path"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// kind is what an image of the table does when its own command runs.
type kind int

const (
	runsShell  kind = iota // a base image: whatever its command says
	serves                 // a server: runs until stopped and listens
	waits                  // pause: runs until stopped, listens nowhere
	isAgnhost              // by subcommand
	isStress               // by arguments
	isPerl                 // digits, else by command
	isKubectl              // a client: its command ends at once
	acceptOnly             // a server of which only the greeting is there
)

// echoBuiltin is the name of the server that answers with what it was asked.
const echoBuiltin = "echo"

// image is a row of the table of well-known images.
type image struct {
	globs    []string // over the name without registry, with or without tag
	kind     kind
	byItself []string // argument vector when neither command nor args are given
	entry    []string // what args are appended to
	own      []string // commands that are the image's own program; another command is read instead
	ports    []uint16 // listened on whether or not they are declared
	tools    []string // commands that exist; nil = not known, so every command is taken to exist
	builtin  string   // name for builtin:NAME and for messages
}

// table is the built-in behaviour of images. The first matching row counts.
var table = []image{
	{globs: []string{"pause", "*/pause", "pause-*"}, kind: waits, byItself: []string{"/pause"}, own: []string{"pause"},
		tools: []string{"pause"}, builtin: "pause"},
	{globs: []string{"agnhost", "*/agnhost"}, kind: isAgnhost, entry: []string{"/agnhost"}, byItself: []string{"/agnhost", "pause"},
		own: []string{"agnhost", "agnhost-2"}, builtin: "agnhost"},
	{globs: []string{"*/echo-basic", "echo-basic"}, kind: serves, own: []string{"echo-basic"}, builtin: echoBuiltin},
	{globs: []string{"nginx", "*/nginx", "nginxinc/nginx-unprivileged", "nginx-slim", "*/nginx-slim"}, kind: serves,
		entry: nil, own: []string{"nginx", "docker-entrypoint.sh"}, ports: []uint16{80}, builtin: "http"},
	{globs: []string{"httpd", "*/httpd"}, kind: serves, own: []string{"httpd", "httpd-foreground", "apache2-foreground"}, ports: []uint16{80}, builtin: "http"},
	{globs: []string{"caddy", "*/caddy"}, kind: serves, own: []string{"caddy"}, ports: []uint16{80}, builtin: "http"},
	{globs: []string{"redis", "*/redis", "valkey", "*/valkey", "bitnami/redis*"}, kind: serves,
		own: []string{"redis-server", "valkey-server", "docker-entrypoint.sh"}, ports: []uint16{6379}, builtin: "redis"},
	{globs: []string{"postgres", "*/postgres", "*/postgresql"}, kind: acceptOnly, own: []string{"postgres", "docker-entrypoint.sh"},
		ports: []uint16{5432}, builtin: "postgres"},
	{globs: []string{"mysql", "*/mysql", "mariadb", "*/mariadb"}, kind: acceptOnly,
		own: []string{"mysqld", "mariadbd", "docker-entrypoint.sh"}, ports: []uint16{3306}, builtin: "mysql"},
	{globs: []string{"*resource-consumer"}, kind: serves, own: []string{"consumer", "resource-consumer"}, ports: []uint16{8080}, builtin: "resource-consumer"},
	{globs: []string{"argoproj/rollouts-demo"}, kind: serves, own: []string{"rollouts-demo"}, ports: []uint16{8080}, builtin: "rollouts-demo"},
	{globs: []string{"hashicorp/http-echo"}, kind: serves, entry: []string{"/http-echo"}, own: []string{"http-echo"}, ports: []uint16{5678}, builtin: "http-echo"},
	{globs: []string{"stress", "*/stress", "stress-ng", "*/stress-ng"}, kind: isStress, own: []string{"stress", "stress-ng"}, builtin: "stress"},
	{globs: []string{"perl"}, kind: isPerl, byItself: []string{"perl", "-de0"}, own: []string{"perl"}, builtin: "perl"},
	{globs: []string{"kubectl", "*/kubectl"}, kind: isKubectl, entry: []string{"kubectl"}, own: []string{"kubectl"}, builtin: "kubectl"},
	{globs: []string{"busybox", "*/busybox"}, kind: runsShell, byItself: []string{"sh"}, tools: busyboxTools, builtin: "shell"},
	{globs: []string{"alpine", "*/alpine"}, kind: runsShell, byItself: []string{"/bin/sh"}, tools: alpineTools, builtin: "shell"},
	{globs: []string{"debian", "ubuntu", "*/debian", "*/ubuntu"}, kind: runsShell, byItself: []string{"bash"}, tools: debianTools, builtin: "shell"},
	{globs: []string{"bash"}, kind: runsShell, byItself: []string{"bash"}, builtin: "shell"},
	{globs: []string{"curl", "*/curl", "curlimages/curl", "wget", "*/wget"}, kind: runsShell, builtin: "shell"},
}

// Tools of the base images, as far as manifests name them.
var (
	busyboxTools = strings.Fields(`[ [[ ash awk base64 basename busybox cat chgrp chmod chown chroot cksum cmp comm cp crond cut
		date dd df diff dirname dmesg dnsdomainname du echo ed egrep env expr factor false fgrep find flock fold free getopt grep
		groups gunzip gzip halt hd head hexdump hostid hostname httpd id install ip ifconfig kill killall less link ln logger
		login ls lsof md5sum mkdir mkfifo mknod mktemp more mount mv nc netstat nice nl nmeter nohup nslookup nproc od paste
		patch pgrep pidof ping ping6 pkill printenv printf ps pwd readlink realpath renice reset rev rm rmdir route sed seq
		setsid sh sha1sum sha256sum sha512sum shred shuf sleep sort split stat stty su sum sync sysctl tac tail tar tee telnet
		telnetd test tftp time timeout top touch tr traceroute true truncate tty umount uname uniq unlink unxz unzip uptime
		usleep uudecode uuencode vi watch wc wget which who whoami xargs xxd xz yes zcat`)
	alpineTools = append([]string{"apk", "getent", "iconv", "ldd", "scanelf", "ssl_client"}, busyboxTools...)
	debianTools = strings.Fields(`[ apt apt-get apt-cache awk b2sum base32 base64 basename bash bashbug cat chattr chcon chgrp chmod
		chown chroot chrt cksum clear cmp comm cp csplit cut dash date dd deb-systemd-helper debconf df diff dir dircolors dirname
		dmesg dpkg du echo egrep env expand expr factor fallocate false fgrep find findmnt flock fmt fold free getconf getent
		getopt grep groupadd groups gunzip gzip head hostid hostname iconv id install ionice ipcs join kill ldconfig ldd link ln
		logger login logname ls lsblk lscpu mawk md5sum mkdir mkfifo mknod mktemp more mount mv nice nl nohup nproc nsenter
		numfmt od passwd paste perl pgrep pidof pinky pkill pr printenv printf prlimit ps ptx pwd rbash readlink realpath rename
		renice rev rm rmdir script sed seq setpriv setsid sh sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep
		sort split stat stdbuf stty su sum sync sysctl tac tail tar taskset tee test timeout top touch tr true truncate tsort
		tty umount uname uncompress unexpand uniq unlink unshare uptime useradd users vdir w watch wc which who whoami xargs
		yes zcat`)
)

// Builtins returns the names that builtin:NAME accepts, sorted.
func Builtins() []string {
	out := []string{"echo"}
	for _, row := range table {
		if row.kind != runsShell && !slices.Contains(out, row.builtin) {
			out = append(out, row.builtin)
		}
	}
	slices.Sort(out)
	return out
}

// lookupsMax bounds the images whose row is remembered; a cluster has hundreds.
const lookupsMax = 4096

// lookups remembers rows by image: the globs are tried once an image instead of once a container start.
var lookups struct {
	sync.RWMutex
	rows map[string]*image
}

// lookup returns the row of the image, or nil.
func lookup(ref string) *image {
	lookups.RLock()
	row, known := lookups.rows[ref]
	lookups.RUnlock()
	if known {
		return row
	}
	row = find(ref)
	lookups.Lock()
	defer lookups.Unlock()
	if lookups.rows == nil || len(lookups.rows) >= lookupsMax {
		lookups.rows = map[string]*image{}
	}
	lookups.rows[ref] = row
	return row
}

func find(ref string) *image {
	for i := range table {
		if slices.ContainsFunc(table[i].globs, func(glob string) bool { return matchesImage(glob, ref) }) {
			return &table[i]
		}
	}
	return nil
}

// argv returns the argument vector of a container: command and args with $(VAR) expanded, over the image's defaults.
func (row *image) argv(command, args []string) []string {
	switch {
	case len(command) > 0:
		return append(slices.Clone(command), args...)
	case row == nil:
		return nil // an entry point nobody knows
	case len(args) > 0:
		if row.kind == runsShell || len(row.entry) > 0 || row.isOwn(args[0]) {
			return append(slices.Clone(row.entry), args...)
		}
		return append(slices.Clone(row.own[:1]), args...)
	case len(row.byItself) > 0:
		return row.byItself
	case len(row.entry) > 0:
		return row.entry
	case len(row.own) > 0:
		return row.own[:1]
	}
	return nil
}

func (row *image) isOwn(command string) bool {
	return row != nil && slices.Contains(row.own, path.Base(command))
}

// notExecutable are shell keywords and builtins that no image has as a file.
var notExecutable = []string{"exit", "export", "source", ".", "set", "unset", "if", "for", "while", "until", "case", "function",
	"trap", "wait", "exec", "eval", "return", "shift", ":", "&&", "||", ";", "|"}

// absent are names, by convention, of commands that do not exist in any image.
var absent = []string{"bad-command*", "nonexistent*", "non-existent*", "no-such-*", "does-not-exist*"}

func isAbsent(command string) bool {
	name := path.Base(command)
	return slices.ContainsFunc(absent, func(g string) bool { ok, err := path.Match(g, name); return ok && err == nil })
}

// startError returns why a runtime could not execute the command, in containerd's words, or "".
func startError(row *image, argv []string, c *corev1.Container) string {
	if len(argv) == 0 {
		return ""
	}
	command := argv[0]
	const prefix = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: " +
		"unable to start container process: error during container init: exec: "
	if slices.Contains(notExecutable, command) || strings.ContainsAny(command, " \t\n") && !strings.Contains(command, "/") {
		return prefix + quote(command) + ": executable file not found in $PATH: unknown"
	}
	if !isAbsent(command) && (row == nil || row.tools == nil || slices.Contains(row.tools, path.Base(command)) && standardPlace(command)) || mounted(command, c) {
		return ""
	}
	if strings.Contains(command, "/") {
		return prefix + quote(command) + ": stat " + command + ": no such file or directory: unknown"
	}
	return prefix + quote(command) + ": executable file not found in $PATH: unknown"
}

// standardPlace reports whether a command is found by $PATH or named in one of its directories.
func standardPlace(command string) bool {
	switch path.Dir(command) {
	case ".", "/", "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin":
		return true
	}
	return false
}

// mounted reports whether the command lies in a volume, whose files are not looked into here.
func mounted(command string, c *corev1.Container) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return command == m.MountPath || strings.HasPrefix(command, strings.TrimSuffix(m.MountPath, "/")+"/")
	})
}

func quote(s string) string { return `"` + s + `"` }
