package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/twofold-iot/twofold/internal/server"
)

func profileServer(c config, dir string) (err error) {
	conf := server.Default()
	conf.Data = filepath.Join(dir, "twofold-data")
	conf.MQTT.Listen, conf.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0"
	s, err := server.Open(conf, logger())
	if err != nil {
		return err
	}
	var addr string
	for _, a := range s.Addresses() {
		if a.Name == "mqtt" {
			addr = strings.TrimPrefix(a.URL(), "mqtt://")
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	err = profiled(c, func() (uint64, error) { return c.runGenerator(addr) })
	stop()
	return errors.Join(err, <-ended, s.Close())
}
