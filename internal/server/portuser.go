package server

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// portUser names the process that listens at an address, as far as Linux lets this
// user see it.
func portUser(address string) string {
	const unknown = "another program"
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return unknown
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listeningInodes(table, addr.Port(), inodes)
	}
	if len(inodes) == 0 {
		return unknown
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is right, nothing else is an error
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !inodes[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return unknown
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
	}
	return unknown
}

// listeningInodes adds the socket inodes that listen on a port; the columns are
// those of proc(5).
func listeningInodes(table string, port uint16, into map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() // read only
	suffix := fmt.Sprintf(":%04X", port)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		col := strings.Fields(sc.Text())
		const stateListen = "0A"
		if len(col) > 9 && col[3] == stateListen && strings.HasSuffix(col[1], suffix) {
			into[col[9]] = true
		}
	}
}
