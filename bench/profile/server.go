package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/server"
)

func profileServer(c config, dir string) error {
	return withServer(dir, func(addr map[string]string) error {
		return profiled(c, func() (uint64, error) { return c.runGenerator(addr["mqtt"]) })
	})
}

// withServer runs a server in this process for as long as f runs.
func withServer(dir string, f func(addr map[string]string) error) error {
	conf := server.Default()
	conf.Data = filepath.Join(dir, "twofold-data")
	conf.MQTT.Listen, conf.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0"
	s, err := server.Open(conf, logger())
	if err != nil {
		return err
	}
	addr := map[string]string{}
	for _, a := range s.Addresses() {
		_, addr[a.Name], _ = strings.Cut(a.URL(), "://")
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	err = f(addr)
	stop()
	return errors.Join(err, <-ended, s.Close())
}

// importSamples is how many samples mode "import" sends, of so many things.
const importSamples, importThings = 2_000_000, 100

func profileImport(c config, dir string) error {
	var body strings.Builder
	body.WriteString("thing,ts,value\n")
	start := time.Now().Add(-importSamples / importThings * time.Second).UnixMilli()
	for i := range importSamples {
		fmt.Fprintf(&body, "sensor-%04d,%d,%.2f\n", i%importThings, start+int64(i/importThings)*1000, 20+float64(i*7919%101)/100)
	}
	return withServer(dir, func(addr map[string]string) error {
		return profiled(c, func() (uint64, error) {
			res, err := http.Post("http://"+addr["http"]+"/api/v1/telemetry", "text/csv", strings.NewReader(body.String())) //nolint:noctx // it ends
			if err != nil {
				return 0, err
			}
			answer, err := io.ReadAll(res.Body)
			if err == nil && res.StatusCode != http.StatusOK {
				err = fmt.Errorf("the server has said %s", answer)
			}
			return importSamples, errors.Join(err, res.Body.Close())
		})
	})
}
