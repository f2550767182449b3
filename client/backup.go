package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// backupSilenceMax is how long a server may take for the next part of a backup.
const backupSilenceMax = 2 * time.Minute

// Backup writes a backup of all data of the server to w. Whether it came whole is told by
// its end, which `twofold restore --verify` looks for.
func (c *Client) Backup(ctx context.Context, w io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const request = "/api/v1/backup"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.String()+request, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	silence := time.AfterFunc(backupSilenceMax, cancel)
	defer silence.Stop()
	res, err := c.opts.HTTP.Do(req)
	if err != nil {
		return &UnreachableError{Server: c.base.String(), Err: bare(err)}
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, c.opts.BodyBytesMax)) // what there is of it
		return newError(res, body)
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			silence.Reset(backupSilenceMax)
			if _, err := w.Write(buf[:n]); err != nil {
				return fmt.Errorf("write the backup: %w", err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &UnreachableError{Server: c.base.String(), Err: fmt.Errorf("read the backup: %w", err)}
		}
	}
}
