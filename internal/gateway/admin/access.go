package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// AccessFile is the name of the file with which a gateway can be asked. Only its owner can read it.
const AccessFile = "gateway.json"

// Access is where a gateway answers, and the key that it wants.
type Access struct {
	Address string `json:"address"`
	Key     string `json:"key"`
}

// NewAccess has a new key.
func NewAccess(address string) (Access, error) {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return Access{}, err
	}
	return Access{Address: address, Key: hex.EncodeToString(key[:])}, nil
}

// Write the file into a directory, in place of an earlier one.
func (a Access) Write(dir string) error {
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, AccessFile)
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return fmt.Errorf("writing the key of the gateway's answers: %w", err)
	}
	return os.Rename(file+".new", file)
}

// ErrNoGateway says that no gateway of this machine belongs to the directory.
var ErrNoGateway = errors.New("there is no gateway to ask: it answers on the machine where `fairway up` runs, unless --capabilities switches it off")

// ReadAccess reads the file of a directory.
func ReadAccess(dir string) (Access, error) {
	var a Access
	data, err := os.ReadFile(filepath.Join(dir, AccessFile))
	if errors.Is(err, fs.ErrNotExist) {
		return a, ErrNoGateway
	}
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return a, fmt.Errorf("reading the key of the gateway's answers: %w", err)
	}
	return a, nil
}

// Guard lets those through who have the key.
func (a Access) Guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(key), []byte(a.Key)) != 1 {
			http.Error(w, "the key is missing or wrong", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Ask a question; body is nil for none. The answer is to be closed.
func (a Access) Ask(ctx context.Context, method, path string, query url.Values, body []byte) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: a.Address, Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+a.Key)
	client := http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNoGateway, err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxQuestion))
	return nil, errors.New(strings.TrimSpace(string(text)))
}
