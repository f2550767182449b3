// Predict measures the anomaly score on public data, by the protocols of those who published
// it. It reads the data from a folder that is no part of the repository, and skips what is
// not there.
//
// usage: go run ./bench/predict [-data ../shared/data]
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/anomaly"
)

func main() {
	log.SetFlags(0)
	data := flag.String("data", "../shared/data", "folder with the data sets")
	flag.Parse()
	for _, set := range []struct {
		folder string
		run    func(dir string) error
	}{{"nab", nab}, {"cmapss", cmapss}, {"ims_bearing", bearing}, {"nasa_battery", batteries}} {
		if err := set.run(filepath.Join(*data, set.folder)); err != nil {
			log.Fatal(err)
		}
	}
}

func nab(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		fmt.Printf("SKIPPED: there is no %s; the Numenta Anomaly Benchmark (github.com/numenta/NAB) is not part of this repository\n", dir)
		return nil
	}
	files, err := readNAB(dir)
	if err != nil {
		return err
	}
	fmt.Printf("Numenta Anomaly Benchmark, %d files in %s, %s\n", len(files), dir, runtime.Version())
	fmt.Printf("  the scorer gives for published scores, best threshold, standard profile:")
	for _, name := range []string{"numenta", "knncad", "windowedGaussian"} {
		scores, err := readPublished(filepath.Join(dir, "published", name+".csv.gz"))
		if err != nil {
			return err
		}
		fmt.Printf("  %s %.1f", name, nabSweep(files, scores, nabProfiles[0].nabProfile, nil).score)
	}
	fmt.Println("  (published: 75.4, 55.0, 37.1)")
	return ours(files)
}

func ours(files []*nabFile) error {
	scores, perPoint, state := scoreAll(files, func(t time.Time, v float64) (time.Time, float64) { return t, v })
	report(files, scores)
	fmt.Printf("  cost: %s a point, %d bytes of state a metric\n", perPoint.Round(10*time.Nanosecond), state)
	moved, _, _ := scoreAll(files, func(t time.Time, v float64) (time.Time, float64) { return t.Add(11 * 24 * time.Hour), 3.7*v - 120 })
	fmt.Println("  the same after shifting time by 11 days and mapping values by 3.7·x − 120:")
	report(files, moved)
	return nil
}

// scoreAll lets a detector of its own read each file.
func scoreAll(files []*nabFile, change func(time.Time, float64) (time.Time, float64)) (scores map[string][]float64, perPoint time.Duration, state int) {
	scores = map[string][]float64{}
	points := 0
	start := time.Now()
	for _, f := range files {
		d := anomaly.New()
		out := make([]float64, len(f.values))
		for i, v := range f.values {
			t, v := change(f.times[i], v)
			out[i] = d.Add(t, v).Score
		}
		points += len(out)
		scores[f.name] = out
		state = max(state, d.StateBytes())
	}
	return scores, time.Since(start) / time.Duration(points), state
}

func report(files []*nabFile, scores map[string][]float64) {
	for _, p := range nabProfiles {
		r := nabSweep(files, scores, p.nabProfile, nil)
		fmt.Printf("    %-9s %5.1f  at %.6f: %d of %d windows, %.2f wrong alarms per 1,000 rows\n", p.name, r.score, r.threshold, r.found, r.windows, 1000*float64(r.wrong)/float64(r.rows))
	}
	folders := map[string]bool{}
	for _, f := range files {
		if len(f.windows) > 0 {
			folders[filepath.Dir(f.name)] = true
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		var in, out []*nabFile
		for _, f := range files {
			if strings.HasPrefix(f.name, folder+"/") {
				in = append(in, f)
			} else {
				out = append(out, f)
			}
		}
		at := nabSweep(out, scores, nabProfiles[0].nabProfile, nil).threshold
		own := nabSweep(in, scores, nabProfiles[0].nabProfile, nil).score
		fmt.Printf("    %-24s %5.1f at the threshold of the others, %.1f at its best\n", folder, nabSweep(in, scores, nabProfiles[0].nabProfile, &at).score, own)
	}
}
