package twin

import "hash/fnv"

// ShardCount is the number of shards. It is part of the data on disk and of every
// cursor, and so fixed for ever.
const ShardCount = 256

// Shard is the unit of order, of batching and of scale-out: hash(thing) % 256.
type Shard uint8

// ThingName is a device's identity: 1 to 128 characters of [a-zA-Z0-9:_-].
//
// Source: AWS IoT API reference, ListNamedShadowsForThing.
type ThingName string

// ThingNameBytesMax is the longest legal [ThingName].
const ThingNameBytesMax = 128

// Valid reports whether the name is legal.
func (n ThingName) Valid() bool {
	return validName(string(n), ThingNameBytesMax, false)
}

// Shard returns the shard of the thing: FNV-1a, 64 bit, of the name, modulo
// [ShardCount].
func (n ThingName) Shard() Shard { return ShardOf(string(n)) }

// ShardOf returns the shard of any key that is not a thing, for example a client
// id, so that its records are written in order too.
func ShardOf(key string) Shard {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // a hash never fails
	return Shard(h.Sum64() % ShardCount)
}

// ShadowName is the name of a named shadow: 1 to 64 characters of
// [$a-zA-Z0-9:_-]. The empty name is the classic shadow.
type ShadowName string

// ShadowNameBytesMax is the longest legal [ShadowName].
const ShadowNameBytesMax = 64

// Valid reports whether the name is that of a legal named shadow; the empty
// (classic) name is not one.
func (n ShadowName) Valid() bool {
	return validName(string(n), ShadowNameBytesMax, true)
}

// ShadowKey names one shadow of one thing.
type ShadowKey struct {
	Thing  ThingName
	Shadow ShadowName
}

// String gives the name as AWS prints it in messages: the thing for the classic
// shadow, thing~shadow for a named one.
func (k ShadowKey) String() string {
	if k.Shadow == "" {
		return string(k.Thing)
	}
	return string(k.Thing) + "~" + string(k.Shadow)
}

func validName(s string, bytesMax int, dollar bool) bool {
	if len(s) == 0 || len(s) > bytesMax {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == ':', c == '_', c == '-':
		case c == '$' && dollar:
		default:
			return false
		}
	}
	return true
}
