package twin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/twin"
)

const mirrored = `{"previous":{"state":{"reported":{"n":1}},"metadata":{"reported":{"n":{"timestamp":1719853600}}},"version":6},` +
	`"current":{"state":{"desired":{"o":{},"timestamp":1},"reported":{"n":2.50,"l":[1,{"a":null2}],"e":[]}},` +
	`"metadata":{"reported":{"l":[{"timestamp":1719853620},{"a":{"timestamp":1719853620}}],"n":{"timestamp":1719853620},"e":[]},` +
	`"desired":{"o":{},"timestamp":{"timestamp":1719850000}}},"version":7},"timestamp":1719853620,"clientToken":"c1","thing":"pump-7","shadow":"config","more":1}`

func message() string { return strings.Replace(mirrored, "null2", `"x"`, 1) }

func TestParseMirrorDocument(t *testing.T) {
	d, err := twin.ParseMirrorDocument([]byte(message()), twin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Thing != "pump-7" || d.Shadow != "config" || d.Time != 1719853620000 || d.Request().ClientToken != "c1" || d.Previous.Version != 6 || d.Current.Version != 7 {
		t.Errorf("%+v", d)
	}
	c := twin.NewMirrored(twin.ShadowKey{Thing: "pump-7"}, d.Previous, d)
	const want = `{"previous":{"state":{"reported":{"n":1}},"metadata":{"reported":{"n":{"timestamp":1719853600}}},"version":6},` +
		`"current":{"state":{"desired":{"o":{},"timestamp":1},"reported":{"n":2.50,"l":[1,{"a":"x"}],"e":[]}},` +
		`"metadata":{"desired":{"o":{},"timestamp":{"timestamp":1719850000}},` +
		`"reported":{"n":{"timestamp":1719853620},"l":[{"timestamp":1719853620},{"a":{"timestamp":1719853620}}],"e":[]}},"version":7},"timestamp":1719853620,"clientToken":"c1"}`
	if got := string(c.AppendDocuments(nil)); got != want {
		t.Errorf("documents\n%s, want\n%s", got, want)
	}
	ev := twin.Event{Thing: "pump-7", Kind: twin.EventUpdated, Origin: twin.Origin{Door: twin.DoorCloud}}
	ev.SetMirrored(d.Current, d.Time)
	if got := string(ev.Data); got != `{"timestamp":1719853620,"stamps":[1719850000,1719853620,1719853620,0]}` {
		t.Errorf("data %s", got)
	}
	ev, err = twin.DecodeEvent(ev.AppendBinary(nil))
	if err != nil {
		t.Fatal(err)
	}
	s, err := twin.Fold(d.Previous, &ev)
	if err != nil || string(s.AppendBinary(nil)) != string(d.Current.AppendBinary(nil)) {
		t.Errorf("the fold of the event is not the document: %v", err)
	}
}

func TestParseMirrorDocument_faults(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20)
	for want, change := range map[string][2]string{
		": it is not a JSON object":                  {message(), `[1]`},
		": it is not valid JSON":                     {`"more":1}`, `"more":1`},
		": there is more after":                      {`"more":1}`, `"more":1}{}`},
		"/current: it is missing":                    {`"current"`, `"currant"`},
		"/current: it is not a JSON object":          {`"current":{`, `"current":7,"x":{`},
		"/current/state: it is missing":              {`"current":{"state"`, `"current":{"stat"`},
		"/current/state: it is not an object":        {`"current":{"state":{`, `"current":{"state":null,"x":{`},
		"/current/state: State contains an invalid":  {`"current":{"state":{`, `"current":{"state":{"odd":1,`},
		"/current/state: JSON contains too many":     {`"n":2.50`, `"n":` + deep},
		"/current/state: The payload exceeds":        {`"n":2.50`, `"n":"` + strings.Repeat("x", 8200) + `"`},
		"/current/version: it is missing":            {`"version":7`, `"versjon":7`},
		"/current/version: 7.5 is not a whole":       {`"version":7`, `"version":7.5`},
		`/current/version: "7" is not a whole`:       {`"version":7`, `"version":"7"`},
		"/current/version: 0 is not between":         {`"version":7`, `"version":0`},
		"/current/version: 18446744073709551615 is":  {`"version":7`, `"version":1e40`},
		"/previous/version: 6 is not before 6":       {`"version":7`, `"version":6`},
		`/current/metadata: "reported": it does not`: {`"n":{"timestamp":1719853620}`, `"n":{"timestamp":"x"}`},
		`/current/metadata: "desired": it does not`:  {`"o":{},"timestamp":{`, `"o":{},"timestump":{`},
		"/timestamp: it is missing":                  {`},"timestamp":1719853620,`, `},`},
		"/timestamp: 1719853620000000 is not in":     {`},"timestamp":1719853620,`, `},"timestamp":1719853620000000,`},
		"/thing: \"pump 7\" is no thing name":        {`pump-7`, `pump 7`},
		"/thing: 7 is not a string":                  {`"pump-7"`, `7`},
		"/shadow: \"a/b\" is no shadow name":         {`"config"`, `"a/b"`},
		"/clientToken: it is longer than 64":         {`"c1"`, `"` + strings.Repeat("c", 65) + `"`},
	} {
		body := strings.Replace(message(), change[0], change[1], 1)
		_, err := twin.ParseMirrorDocument([]byte(body), twin.Limits{})
		if err == nil || !strings.HasPrefix(twin.ErrorMessage(err), want) {
			t.Errorf("%q in place of %q: %v, want %q", change[1], change[0], err, want)
		}
	}
}

// What is no document is an error, and what is one comes back from its event.
func FuzzParseMirrorDocument(f *testing.F) {
	f.Add([]byte(message()))
	f.Add([]byte(`{"current":{"state":{},"version":1},"timestamp":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := twin.ParseMirrorDocument(body, twin.Limits{})
		if err != nil {
			return
		}
		ev := twin.Event{Thing: "pump-7", Kind: twin.EventRecorded, Origin: twin.Origin{Door: twin.DoorCloud}}
		ev.SetMirrored(d.Current, d.Time)
		s, err := twin.RecordedState(&ev)
		if err != nil || string(s.AppendBinary(nil)) != string(d.Current.AppendBinary(nil)) || !twin.SameDocument(s, d.Current) {
			t.Fatalf("%v: %s came back as %s, %s", err, body, ev.Patch, ev.Data)
		}
	})
}

func TestMirrorIndex_codec(t *testing.T) {
	h := twin.MirrorHead{Life: 3, Start: 99, Begun: 5, Version: 1 << 40, Shown: 7, Time: 1719853620000, Since: -3}
	if got, err := twin.DecodeMirrorHead(h.AppendBinary(nil)); err != nil || got != h {
		t.Errorf("%+v, %v", got, err)
	}
	b := twin.MirrorBlock{3: {Seq: 900, Time: 50, At: 40}, 4: {Seq: 7, Time: 1719853620000, At: 0}, 31: {Seq: 901, Time: 51, At: 51}}
	enc := b.AppendBinary(nil)
	if got, err := twin.DecodeMirrorBlock(enc); err != nil || *got != b {
		t.Errorf("%+v, %v", got, err)
	}
	for cut := range enc {
		if got, err := twin.DecodeMirrorBlock(enc[:cut]); err == nil && *got == b {
			t.Errorf("cut at %d it is the same", cut)
		}
	}
	key := twin.ShadowKey{Thing: "a", Shadow: "b"}
	if life, v, ok := twin.ParseMirrorBlockKey(key, twin.MirrorBlockKey(key, 2, 65)); !ok || life != 2 || v != 64 {
		t.Errorf("%d, %d, %t", life, v, ok)
	}
}

func TestMirrorIndex_golden(t *testing.T) {
	h := twin.MirrorHead{Life: 2, Start: 300, Version: 41, Shown: 40, Begun: 1700000000250, Time: 1700000060000, Since: 1700000000000}
	b := twin.MirrorBlock{8: {Seq: 300, Time: 1700000000250, At: 1700000000000}, 9: {Seq: 301, Time: 1700000060100, At: 1700000060000}}
	for got, want := range map[string]string{
		fmt.Sprintf("%x", h.AppendBinary(nil)):                                                 "0102ac022928f4a3abfef962c0c9b2fef96280a0abfef962",
		fmt.Sprintf("%x", b.AppendBinary(nil)):                                                 "0108d804f4a3abfef962f303090294a707c701",
		fmt.Sprintf("%q", twin.MirrorBlockKey(twin.ShadowKey{Thing: "a", Shadow: "b"}, 2, 41)): `"a\x00b\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01"`,
	} {
		if got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
}
