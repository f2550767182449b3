package twin

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// PayloadHash is CRC-32C over topic, a zero byte and payload: what tells a request
// that is sent again from another one under the same packet id or key. HTTP doors
// use method and path as the topic.
func PayloadHash(topic string, payload []byte) uint32 {
	var room [256]byte // a topic as long as AWS allows costs no memory
	h := crc32.Update(0, castagnoli, append(append(room[:0], topic...), 0))
	return crc32.Update(h, castagnoli, payload)
}
