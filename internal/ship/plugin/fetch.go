package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// programBytesMax bounds the program of a plugin; those written in Go have some tens of MB.
const programBytesMax = 1 << 30

// fetch puts a copy of a plugin's program into the host's directory and returns its path. The copy is what is checked and run,
// so that nobody can change it in between.
func (h *Host) fetch(ctx context.Context, kind Kind, item Item) (string, error) {
	source, err := h.open(ctx, item)
	if err != nil {
		return "", err
	}
	defer source.Close()
	dir, err := h.directory()
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(dir, "fetch-*")
	if err != nil {
		return "", fmt.Errorf("plugin %s: making a file for its program: %w", item.Name, err)
	}
	path := filepath.Join(dir, string(kind)+"-"+strings.ReplaceAll(item.Name, "/", "-"))
	if err := save(file, source, item); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return path, nil
}

// save copies a program into a file that only its owner can run, and compares its checksum.
func save(file *os.File, source io.Reader, item Item) error {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, sum), io.LimitReader(source, programBytesMax+1))
	if err == nil && n > programBytesMax {
		err = fmt.Errorf("it is larger than %d bytes; check the location", programBytesMax)
	}
	if err == nil {
		err = file.Chmod(0o700)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("plugin %s: fetching %s: %w", item.Name, item.Location, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); item.Sha256 != "" && !strings.EqualFold(got, item.Sha256) {
		return fmt.Errorf("plugin %s: sha256 hash of downloaded plugin (%s) does not match expected hash: it is %s; correct sha256 in config map %s, or the location",
			item.Name, item.Location, got, ConfigMapName)
	}
	return nil
}

// open opens the location of a plugin.
func (h *Host) open(ctx context.Context, item Item) (io.ReadCloser, error) {
	location, err := url.Parse(item.Location)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: location: %w", item.Name, err)
	}
	if location.Scheme == "file" {
		file, err := os.Open(filepath.Clean(location.Host + location.Path)) // file://./a has . as the host
		if err != nil {
			return nil, fmt.Errorf("plugin %s: %w; put the program there, or correct its location", item.Name, err)
		}
		if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
			return nil, errors.Join(fmt.Errorf("plugin %s: %s is not a regular file; correct its location", item.Name, file.Name()), err, file.Close())
		}
		return file, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, item.Location, nil)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", item.Name, err)
	}
	if request.Header, err = h.headers(ctx, item); err != nil {
		return nil, err
	}
	if location.Scheme == "http" && item.Sha256 == "" {
		h.log.Warn("A plugin is fetched without encryption and without a checksum; add sha256 to it.", "plugin", item.Name, "configMap", ConfigMapName)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: failed to download file: %w", item.Name, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("plugin %s: failed to download file from %s: response code %s; check the location and headersFrom",
			item.Name, location.Redacted(), response.Status), response.Body.Close())
	}
	return response.Body, nil
}

// headers of a download come from secrets, one header a key.
func (h *Host) headers(ctx context.Context, item Item) (http.Header, error) {
	header := http.Header{}
	for _, from := range item.HeadersFrom {
		if h.options.Secret == nil {
			return nil, fmt.Errorf("plugin %s: headersFrom names the secret %q, but no secrets can be read here; remove headersFrom or use a file:// location",
				item.Name, from.SecretRef.Name)
		}
		data, err := h.options.Secret(ctx, from.SecretRef.Name)
		if err != nil {
			return nil, fmt.Errorf("plugin %s: headersFrom: failed to get secret in secretRef: %w", item.Name, err)
		}
		for _, key := range slices.Sorted(maps.Keys(data)) {
			header.Add(key, strings.TrimRight(string(data[key]), "\r\n"))
		}
	}
	return header, nil
}
