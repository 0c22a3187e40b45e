//go:build !unix

package store

import "errors"

// FreeBytes is the space of a directory's file system that this user may still fill; unknown on this system.
func FreeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }
