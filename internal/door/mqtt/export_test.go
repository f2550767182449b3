package mqtt

// Appointments is how many sessions the janitor has to look at some time.
func (b *Broker) Appointments() int {
	b.janitor.mu.Lock()
	defer b.janitor.mu.Unlock()
	return len(b.janitor.times)
}
