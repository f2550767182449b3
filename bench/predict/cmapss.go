package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/rul"
)

// cmapssCap is the remaining life beyond which an engine counts as new, as published figures
// have it.
const cmapssCap = 125

// cmapss fits a model on the engines that ran to failure and tries it on the last row of the
// others.
func cmapss(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		fmt.Printf("SKIPPED: there is no %s; C-MAPSS (NASA Prognostics Center of Excellence) is not part of this repository\n", dir)
		return nil
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	fmt.Println("C-MAPSS, fitted on the train file alone, judged at the last row of each test engine, one core; cap 125 on target and truth")
	for _, set := range []string{"FD001", "FD002"} {
		train, err := readCMAPSS(filepath.Join(dir, "train_"+set+".txt.gz"))
		if err != nil {
			return err
		}
		test, err := readCMAPSS(filepath.Join(dir, "test_"+set+".txt.gz"))
		if err != nil {
			return err
		}
		truth, err := readTruth(filepath.Join(dir, "RUL_"+set+".txt"))
		if err != nil {
			return err
		}
		start := time.Now()
		m, err := rul.Train(train, cmapssCap)
		if err != nil {
			return err
		}
		took := time.Since(start)
		var square, uncapped, phm, width, in50, in90 float64
		for i := range test {
			p := m.Predict(&test[i])
			was := min(truth[i], cmapssCap)
			d := p.Left - was
			square += d * d
			uncapped += (p.Left - truth[i]) * (p.Left - truth[i])
			if d < 0 {
				phm += math.Expm1(-d / 13)
			} else {
				phm += math.Expm1(d / 10)
			}
			width += p.Interval90[1] - p.Interval90[0]
			if p.Interval90[0] <= was && was <= p.Interval90[1] {
				in90++
			}
			if p.Interval50[0] <= was && was <= p.Interval50[1] {
				in50++
			}
		}
		n := float64(len(test))
		fmt.Printf("  %s  RMSE %.2f, uncapped %.2f, PHM %.0f; 90 %% interval holds %.0f %%, mean width %.0f; 50 %% holds %.0f %%; cross-validation RMSE %.2f (constant %.2f); trained in %.1fs\n",
			set, math.Sqrt(square/n), math.Sqrt(uncapped/n), phm, 100*in90/n, width/n, 100*in50/n, m.Error.RMSE, m.Error.Constant, took.Seconds())
	}
	return nil
}

// readCMAPSS reads the engines of a file: unit, cycle, three settings and sensors in each row.
func readCMAPSS(path string) (lives []rul.Life, err error) {
	err = eachLine(path, func(fields []float64, name string) {
		if n := len(lives); n == 0 || lives[n-1].Unit != name {
			lives = append(lives, rul.Life{Unit: name})
		}
		l := &lives[len(lives)-1]
		l.Times, l.Rows = append(l.Times, fields[1]), append(l.Rows, fields[2:])
	})
	return lives, err
}

func readTruth(path string) (list []float64, err error) {
	err = eachLine(path, func(fields []float64, _ string) { list = append(list, fields[0]) })
	return list, err
}

func eachLine(path string, visit func([]float64, string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return err
		}
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		texts := strings.Fields(lines.Text())
		if len(texts) == 0 {
			continue
		}
		fields := make([]float64, len(texts))
		for i, text := range texts {
			if fields[i], err = strconv.ParseFloat(text, 64); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		visit(fields, texts[0])
	}
	return lines.Err()
}
