package pebblestore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// getter looks up keys. Pebble's own Get does not use the filters of the lowest level,
// where most of a small store is, so that a thing that never was would cost a block
// to be read and unpacked; an iterator can be told to use them.
type getter struct {
	db   *pebble.DB
	iter *pebble.Iterator // opened by the first get
}

// get hands the value of a key to use, which must copy what it keeps; ok is false
// if there is none.
func (g *getter) get(key []byte, use func(value []byte) error) (ok bool, err error) {
	if g.iter == nil {
		g.iter, err = g.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
		if err != nil {
			return false, errRead(err)
		}
	}
	if !g.iter.SeekPrefixGE(key) || !bytes.Equal(g.iter.Key(), key) {
		if err := g.iter.Error(); err != nil {
			return false, errRead(err)
		}
		return false, nil
	}
	value, err := g.iter.ValueAndErr()
	if err != nil {
		return false, errRead(err)
	}
	return true, use(value)
}

// close ends a series of gets, which all saw the store as at the first.
func (g *getter) close() {
	if g.iter != nil {
		_ = g.iter.Close() // it repeats the errors of the gets
		g.iter = nil
	}
}

// errRead wraps what Pebble says of a read; nil stays nil.
func errRead(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read from disk: %w", errFile(err))
}

// errFile names the damaged file, where Pebble tells which it is.
func errFile(err error) error {
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return &damagedFile{info, err}
	}
	return err
}

// damagedFile says which file is damaged, and how. Pebble has that apart from the text of
// its error.
type damagedFile struct {
	info *pebble.DataCorruptionInfo
	err  error
}

func (d *damagedFile) Error() string {
	return fmt.Sprintf("file %s is damaged: %v", d.info.Path, d.info.Details)
}

func (d *damagedFile) Unwrap() error { return d.err }

// Heads implements [store.Reader].
func (s *Store) Heads(ctx context.Context, things []twin.ThingName) ([]twin.Head, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	var newest store.Pos
	var key []byte
	heads := make([]twin.Head, len(things))
	g := getter{db: s.db}
	defer g.close()
	for i, thing := range things {
		key = appendHeadKey(key[:0], thing)
		_, err := g.get(key, func(value []byte) error {
			pos, h, err := parseHead(value, thing)
			newest, heads[i] = max(newest, pos), h
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if err := s.durable.wait(ctx, newest, s.fence); err != nil {
		return nil, err
	}
	return heads, nil
}

// Shadows implements [store.Reader].
func (s *Store) Shadows(ctx context.Context, keys []twin.ShadowKey) ([]store.Shadow, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	var newest store.Pos
	var key []byte
	shadows := make([]store.Shadow, len(keys))
	g := getter{db: s.db}
	defer g.close()
	for i, k := range keys {
		key = appendShadowKey(key[:0], k)
		_, err := g.get(key, func(value []byte) error {
			pos, shadow, _, err := parseShadow(value, k)
			shadow.Doc = bytes.Clone(shadow.Doc)
			newest, shadows[i] = max(newest, pos), shadow
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if err := s.durable.wait(ctx, newest, s.fence); err != nil {
		return nil, err
	}
	return shadows, nil
}

// iterate opens an iterator over [lower, upper), runs f on it, and reports what f
// or the iterator has to say.
func (s *Store) iterate(lower, upper []byte, f func(iter *pebble.Iterator) error) error {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return errRead(err)
	}
	err = f(iter)
	if damage := iter.Error(); damage != nil && err == nil {
		err = errRead(damage)
	}
	// Close repeats the iterator's error.
	if closing := iter.Close(); closing != nil && err == nil {
		err = errRead(closing)
	}
	return err
}

// sameThingStepsMax is after how many shadows of one thing a list of things seeks
// the next thing instead of stepping on.
const sameThingStepsMax = 8

// Things implements [store.Reader].
func (s *Store) Things(ctx context.Context, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	var newest store.Pos
	var things []twin.ThingName
	lower := []byte{keyShadow}
	if after != "" {
		lower = pastThing(nil, after)
	}
	err := s.iterate(lower, []byte{keyShadow + 1}, func(iter *pebble.Iterator) error {
		steps := 0
		for ok := iter.First(); ok && len(things) < limit; {
			key, pos, live, err := shadowAt(iter)
			if err != nil {
				return err
			}
			newest = max(newest, pos)
			if n := len(things); live && (n == 0 || things[n-1] != key.Thing) {
				things = append(things, key.Thing)
				steps = 0
			}
			if steps++; steps > sameThingStepsMax && len(things) != 0 && things[len(things)-1] == key.Thing {
				ok = iter.SeekGE(pastThing(nil, key.Thing))
			} else {
				ok = iter.Next()
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list things: %w", err)
	}
	if err := s.durable.wait(ctx, newest, s.fence); err != nil {
		return nil, err
	}
	return things, nil
}

// pastThing returns the first key after all shadows of a thing.
func pastThing(dst []byte, thing twin.ThingName) []byte {
	dst = append(append(dst, keyShadow), thing...)
	return append(dst, 1)
}

func shadowAt(iter *pebble.Iterator) (twin.ShadowKey, store.Pos, bool, error) {
	key, ok := parseShadowKey(iter.Key())
	if !ok {
		return key, 0, false, errDamaged(fmt.Sprintf("key %x", iter.Key()))
	}
	value, err := iter.ValueAndErr()
	if err != nil {
		return key, 0, false, errRead(err)
	}
	pos, _, live, err := parseShadow(value, key)
	return key, pos, live, err
}

// ShadowNames implements [store.Reader].
func (s *Store) ShadowNames(ctx context.Context, thing twin.ThingName, after twin.ShadowName, limit int) ([]twin.ShadowName, error) {
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	var newest store.Pos
	var names []twin.ShadowName
	// The zero byte makes it the first key greater than after.
	lower := append(appendShadowKey(nil, twin.ShadowKey{Thing: thing, Shadow: after}), 0)
	err := s.iterate(lower, pastThing(nil, thing), func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok && len(names) < limit; ok = iter.Next() {
			key, pos, live, err := shadowAt(iter)
			if err != nil {
				return err
			}
			newest = max(newest, pos)
			if live {
				names = append(names, key.Shadow)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list shadows of thing %s: %w", thing, err)
	}
	if err := s.durable.wait(ctx, newest, s.fence); err != nil {
		return nil, err
	}
	return names, nil
}

// NamedShadows implements [store.Reader].
func (s *Store) NamedShadows(ctx context.Context, after twin.ShadowKey, limit int) ([]twin.ShadowKey, error) {
	if err := store.CheckLimit(limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	var newest store.Pos
	var list []twin.ShadowKey
	lower := []byte{keyShadow}
	if after.Thing != "" {
		lower = append(appendShadowKey(nil, after), 0)
	}
	err := s.iterate(lower, []byte{keyShadow + 1}, func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok && len(list) < limit; ok = iter.Next() {
			if k := iter.Key(); k[len(k)-1] == 0 { // the end of the name of a thing: a classic one
				continue
			}
			key, pos, live, err := shadowAt(iter)
			if err != nil {
				return err
			}
			newest = max(newest, pos)
			if live {
				list = append(list, key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list named shadows: %w", err)
	}
	return list, s.durable.wait(ctx, newest, s.fence)
}

// Record implements [store.Records].
func (s *Store) Record(ctx context.Context, kind twin.RecordKind, key string) (r twin.Record, ok bool, err error) {
	if err := s.enter(ctx); err != nil {
		return r, false, err
	}
	defer s.exit()
	g := getter{db: s.db}
	defer g.close()
	ok, err = g.get(appendRecordKey(nil, kind, key), func(value []byte) error {
		r, err = parseRecord(value, kind, key)
		return err
	})
	if err != nil {
		return twin.Record{}, false, err
	}
	newest := store.Pos(r.Revision)
	if !ok {
		newest = store.Pos(s.deletes[kind].Load()) // it may be this one that was deleted
	}
	if err := s.durable.wait(ctx, newest, s.fence); err != nil {
		return twin.Record{}, false, err
	}
	return r, ok, nil
}

// ListRecords implements [store.Records].
func (s *Store) ListRecords(ctx context.Context, r store.RecordRange) ([]twin.Record, error) {
	if err := store.CheckLimit(r.Limit); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.exit()
	var newest store.Pos
	var records []twin.Record
	prefix := appendRecordKey(nil, r.Kind, r.Prefix)
	lower := prefix
	if r.After != "" {
		lower = append(appendRecordKey(nil, r.Kind, r.After), 0)
		if bytes.Compare(lower, prefix) < 0 {
			lower = prefix
		}
	}
	upper := after(prefix)
	if bytes.Compare(lower, upper) >= 0 {
		return nil, nil
	}
	err := s.iterate(lower, upper, func(iter *pebble.Iterator) error {
		for ok := iter.First(); ok && len(records) < r.Limit; ok = iter.Next() {
			value, err := iter.ValueAndErr()
			if err != nil {
				return errRead(err)
			}
			rec, err := parseRecord(value, r.Kind, string(iter.Key()[2:]))
			if err != nil {
				return err
			}
			newest = max(newest, store.Pos(rec.Revision))
			records = append(records, rec)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list records of kind %d: %w", r.Kind, err)
	}
	newest = max(newest, store.Pos(s.deletes[r.Kind].Load()))
	if err := s.durable.wait(ctx, newest, s.fence); err != nil {
		return nil, err
	}
	return records, nil
}
