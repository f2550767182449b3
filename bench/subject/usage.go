package subject

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used since its start.
type Usage struct {
	CPU          time.Duration // user and system
	WrittenBytes uint64        // handed to write calls, sockets too (/proc/PID/io wchar)
	DiskBytes    uint64        // sent to the disk (write_bytes); 0 where the kernel does not tell
	RSSBytes     uint64        // resident now
}

// Since returns what was used after u0; RSSBytes stays what it is now.
func (u Usage) Since(u0 Usage) Usage {
	u.CPU -= u0.CPU
	u.WrittenBytes -= u0.WrittenBytes
	u.DiskBytes -= u0.DiskBytes
	return u
}

// Add adds what another span used; RSSBytes becomes the larger one.
func (u Usage) Add(o Usage) Usage {
	u.CPU += o.CPU
	u.WrittenBytes += o.WrittenBytes
	u.DiskBytes += o.DiskBytes
	u.RSSBytes = max(u.RSSBytes, o.RSSBytes)
	return u
}

// clockTick is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// ReadUsage reads what a process has used from /proc.
func ReadUsage(pid int) (Usage, error) {
	var u Usage
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u, fmt.Errorf("read usage: %w", err)
	}
	// The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("read usage: %sstat has %d fields", dir, len(fields))
	}
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, fmt.Errorf("read usage: %w", err)
		}
		u.CPU += time.Duration(n) * clockTick
	}
	io, err := readFields(dir + "io")
	if err != nil {
		return u, err
	}
	u.WrittenBytes, u.DiskBytes = io["wchar"], io["write_bytes"]
	status, err := readFields(dir + "status")
	if err != nil {
		return u, err
	}
	u.RSSBytes = status["VmRSS"] << 10
	return u, nil
}

// ReadBusy returns the CPU time that all processes of the machine have used.
func ReadBusy() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read usage: %w", err)
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("read usage: /proc/stat begins with %q", line)
	}
	var busy time.Duration
	for i, f := range fields[1:9] { // user nice system idle iowait irq softirq steal
		if i == 3 || i == 4 {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read usage: %w", err)
		}
		busy += time.Duration(n) * clockTick
	}
	return busy, nil
}

// readFields reads lines of the form "name: number …".
func readFields(path string) (map[string]uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	m := make(map[string]uint64)
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		values := strings.Fields(rest)
		if !ok || len(values) == 0 {
			continue
		}
		if n, err := strconv.ParseUint(values[0], 10, 64); err == nil {
			m[name] = n
		}
	}
	return m, nil
}

// Machine describes where and on what commit a measurement was taken.
func Machine() string {
	cpu := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // best effort: a label
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%d × %s, Linux %s, %s, load average %s", runtime.NumCPU(), cpu,
		strings.TrimSpace(string(kernel)), runtime.Version(), firstFields(string(load), 3))
}

func firstFields(s string, n int) string {
	f := strings.Fields(s)
	return strings.Join(f[:min(n, len(f))], " ")
}

// Commit returns the commit of the working tree, with "+" if it has changes.
func Commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	commit := strings.TrimSpace(string(out))
	if changes, err := exec.Command("git", "status", "--porcelain").Output(); err != nil || len(changes) > 0 {
		commit += "+"
	}
	return commit
}
