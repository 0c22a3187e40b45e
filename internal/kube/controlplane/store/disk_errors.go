package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// Why a directory cannot be used; test with errors.Is.
var (
	// ErrLocked: another process has the directory open.
	ErrLocked = errors.New("in use by another process")
	// ErrUnwritable: the directory cannot be made or written.
	ErrUnwritable = errors.New("cannot be written")
	// ErrFull: the file system has no room.
	ErrFull = errors.New("no space left")
	// ErrCorrupt: the files are not those of a complete store.
	ErrCorrupt = errors.New("damaged")
)

// minFreeBytes is the free space below which the store does not start: two files of the log and some growth.
const minFreeBytes = 4 * logSegmentBytes

func locked(dir string) error {
	return fmt.Errorf("the store in %s is %w; stop that one, or use another directory (`fairway up --name NAME` or --data DIR)", dir, ErrLocked)
}

func unwritable(dir string, err error) error {
	return fmt.Errorf("the store in %s %w: %w; check the owner and mode of the directory, or use another one (`fairway up --data DIR`)", dir, ErrUnwritable, err)
}

func full(dir string, err error) error {
	return fmt.Errorf("the store in %s cannot be opened: %w: %w; free at least %d MB, or use another directory (`fairway up --data DIR`)", dir, ErrFull, err, minFreeBytes>>20)
}

func corrupt(dir string, err error) error {
	return fmt.Errorf("the store in %s is %w: %w; start anew with `fairway up --reset`, which deletes it, or put a copy of the directory in its place", dir, ErrCorrupt, err)
}

// refused names the reason why a store did not start.
func (d *Disk) refused(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return full(d.dir, err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return unwritable(d.dir, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the store in %s did not start in time: %w", d.dir, err)
	}
	return corrupt(d.dir, err)
}

// checkRoom refuses a nearly full file system before anything is written to it.
func checkRoom(dir string) error {
	free, err := FreeBytes(dir)
	if err != nil || free >= minFreeBytes {
		return nil // unknown is not full
	}
	return full(dir, fmt.Errorf("%d MB are free", free>>20))
}

func databasePath(dir string) string { return filepath.Join(dir, "member", "snap", "db") }

// checkFiles refuses what etcd would wait for, or take for a new store and overwrite.
func checkFiles(dir string) error {
	db := databasePath(dir)
	if !fileutil.Exist(db) {
		if wal.Exist(filepath.Join(dir, "member", "wal")) {
			return corrupt(dir, errors.New("it has a log but no database (member/snap/db)"))
		}
		return nil
	}
	f, err := fileutil.TryLockFile(db, os.O_RDWR, 0o600)
	switch {
	case errors.Is(err, fileutil.ErrLocked):
		return locked(dir)
	case err != nil:
		return unwritable(dir, err)
	}
	if err := f.Close(); err != nil {
		return unwritable(dir, err)
	}
	if wal.Exist(filepath.Join(dir, "member", "wal")) {
		return nil
	}
	// The database is made before the log: without a log it must still be empty.
	empty, err := databaseEmpty(db)
	if err != nil {
		return corrupt(dir, err)
	}
	if !empty {
		return corrupt(dir, errors.New("it has a database but no log (member/wal)"))
	}
	return nil
}

func databaseEmpty(path string) (empty bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the database cannot be read: %v", p)
		}
	}()
	info, err := os.Stat(path)
	if err != nil || info.Size() == 0 {
		return true, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return false, err
	}
	empty = true
	err = db.View(func(tx *bolt.Tx) error {
		if keys := tx.Bucket([]byte("key")); keys != nil {
			first, _ := keys.Cursor().First()
			empty = first == nil
		}
		return nil
	})
	return empty, errors.Join(err, db.Close())
}
