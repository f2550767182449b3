package webhook_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/twofold-iot/twofold/internal/webhook"
	"github.com/twofold-iot/twofold/twin"
)

// newSilent returns the address of a server that takes connections and says nothing.
func newSilent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestGuard(t *testing.T) {
	g, err := webhook.NewGuard([]string{"10.1.0.0/16", "Hooks.Internal", "192.168.1.5", "[fd00::5]"})
	if err != nil {
		t.Fatal(err)
	}
	for address, allowed := range map[string]bool{
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "10.0.0.1": false, "172.31.255.255": false, "192.168.1.4": false, "100.64.0.1": false,
		"169.254.169.254": false, "168.63.129.16": false, "fe80::1": false, "fd00:ec2::254": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "ff02::1": false,
		"255.255.255.255": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "2001::1": false, "::127.0.0.1": false,
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "192.168.1.5": true, "fd00::5": true, "8.8.8.8": true, "172.32.0.1": true, "2001:4860:4860::8888": true,
	} {
		if err := g.Check("example.com", netip.MustParseAddr(address)); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
		if err := g.Check("hooks.internal.", netip.MustParseAddr(address)); err != nil {
			t.Errorf("%s by a name that is allowed: %v", address, err)
		}
	}
	for _, bad := range []string{"", "http://example.com", "a b", "*.internal", "10.0.0.0/99", "host:80"} {
		if _, err := webhook.NewGuard([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A name may resolve to anything: the address is judged when it is dialed.
func TestService_privateName(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, func(o *webhook.Options) {
		var err error
		if o.Guard, err = webhook.NewGuard(nil); err != nil {
			t.Fatal(err)
		}
	})
	port := r.URL[strings.LastIndex(r.URL, ":"):]
	w.add(t, twin.Webhook{URL: "http://localhost" + port})
	reason, err := w.Test(context.Background(), "crm")
	if err != nil || !strings.Contains(reason, "is no public address; webhooks.allow_private can allow it") {
		t.Errorf("%q %v", reason, err)
	}
	for _, host := range []string{"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.8"} {
		if _, _, err := w.Create(context.Background(), &twin.Webhook{Name: "x", URL: "http://" + host + port, Batch: 1}, ""); twin.Kind(err) != twin.KindInvalid {
			t.Errorf("%s: %v", host, err)
		}
	}
	r.none(t)
}

// A receiver cannot send us elsewhere.
func TestService_redirect(t *testing.T) {
	w, r := newWorld(t, nil), newReceiver(t)
	w.add(t, twin.Webhook{URL: r.URL})
	for _, status := range []int{301, 302, 307, 308} {
		r.answer(status)
		reason, err := w.Test(context.Background(), "crm")
		if err != nil || !strings.Contains(reason, "redirects are not followed") {
			t.Errorf("%d: %q %v", status, reason, err)
		}
		if g := r.next(t); g.kind != "test" {
			t.Errorf("%+v", g)
		}
		r.none(t)
	}
}

// A certificate that nobody vouches for is refused.
func TestService_certificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	t.Cleanup(s.Close)
	w := newWorld(t, nil)
	w.add(t, twin.Webhook{URL: s.URL})
	if reason, err := w.Test(context.Background(), "crm"); err != nil || !strings.Contains(reason, "certificate") {
		t.Errorf("%q %v", reason, err)
	}
	known := newWorld(t, func(o *webhook.Options) {
		o.Roots = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	})
	known.add(t, twin.Webhook{URL: s.URL})
	if reason, err := known.Test(context.Background(), "crm"); err != nil || reason != "" {
		t.Errorf("%q %v", reason, err)
	}
}
