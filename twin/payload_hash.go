package twin

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// PayloadHash is CRC-32C over topic, a zero byte and payload: what tells a request
// that is sent again from another one under the same packet id or key. HTTP doors
// use method and path as the topic.
func PayloadHash(topic string, payload []byte) uint32 {
	h := crc32.Update(0, castagnoli, []byte(topic))
	h = crc32.Update(h, castagnoli, []byte{0})
	return crc32.Update(h, castagnoli, payload)
}
