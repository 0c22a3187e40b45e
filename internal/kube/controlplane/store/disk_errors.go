package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
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

// checkFiles refuses what etcd would wait for, end the process about, or take for a new store and overwrite.
func checkFiles(dir string) error {
	haveLog := wal.Exist(filepath.Join(dir, "member", "wal"))
	db := databasePath(dir)
	info, err := os.Stat(db)
	switch {
	case errors.Is(err, os.ErrNotExist) && haveLog:
		return corrupt(dir, errors.New("it has a log but no database (member/snap/db)"))
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return unwritable(dir, err)
	case info.Size() == 0 && !haveLog:
		return nil // a first start that was killed at once
	}
	empty, err := databaseEmpty(db)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return locked(dir)
	case errors.Is(err, os.ErrPermission):
		return unwritable(dir, err)
	case err != nil:
		return corrupt(dir, err)
	case !haveLog && !empty: // the database is made before the log: without a log it must still be empty
		return corrupt(dir, errors.New("it has a database but no log (member/wal)"))
	}
	return nil
}

// lockWait is how long to wait for another program (not this one, which has a lock of its own) to close the database.
const lockWait = 10 * time.Millisecond

// databaseEmpty opens the database for reading, which proves that it is one, and tells whether it has no keys.
func databaseEmpty(path string) (empty bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the database cannot be read: %v", p)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: lockWait})
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
